#include "ccodec.h"

#include <lz4frame.h>
#include <stdlib.h>
#include <zstd.h>

struct cc_frame_decoder {
    LZ4F_dctx *lz4;
    ZSTD_DCtx *zstd;
};

cc_frame_decoder *cc_frame_create(enum cc_frame_kind kind) {
    cc_frame_decoder *decoder = (cc_frame_decoder *)calloc(1, sizeof *decoder);
    if (!decoder) return NULL;
    int failed;
    if (kind == CC_FRAME_LZ4) {
        failed = LZ4F_isError(LZ4F_createDecompressionContext(&decoder->lz4, LZ4F_VERSION)) != 0;
    } else {
        decoder->zstd = ZSTD_createDCtx();
        failed = decoder->zstd == NULL;
        // A window above 128 MiB would let a few bytes of input claim gigabytes.
        if (!failed)
            failed = ZSTD_isError(
                         ZSTD_DCtx_setParameter(decoder->zstd, ZSTD_d_windowLogMax, 27)) != 0;
    }
    if (failed) {
        cc_frame_destroy(decoder);
        return NULL;
    }
    return decoder;
}

void cc_frame_destroy(cc_frame_decoder *decoder) {
    LZ4F_freeDecompressionContext(decoder->lz4);
    ZSTD_freeDCtx(decoder->zstd);
    free(decoder);
}

void cc_frame_reset(cc_frame_decoder *decoder) {
    if (decoder->lz4)
        LZ4F_resetDecompressionContext(decoder->lz4);
    else
        ZSTD_DCtx_reset(decoder->zstd, ZSTD_reset_session_only);
}

enum cc_frame_status cc_frame_decode(cc_frame_decoder *decoder, const void *input,
                                     size_t *input_count, void *output, size_t *output_count) {
    if (decoder->lz4) {
        size_t hint =
            LZ4F_decompress(decoder->lz4, output, output_count, input, input_count, NULL);
        if (LZ4F_isError(hint)) return CC_FRAME_DAMAGED;
        return hint == 0 ? CC_FRAME_END : CC_FRAME_MORE;
    }
    ZSTD_inBuffer in = {input, *input_count, 0};
    ZSTD_outBuffer out = {output, *output_count, 0};
    size_t hint = ZSTD_decompressStream(decoder->zstd, &out, &in);
    *input_count = in.pos;
    *output_count = out.pos;
    if (ZSTD_isError(hint)) return CC_FRAME_DAMAGED;
    return hint == 0 ? CC_FRAME_END : CC_FRAME_MORE;
}

size_t cc_frame_bound(enum cc_frame_kind kind, size_t count) {
    return kind == CC_FRAME_LZ4 ? LZ4F_compressFrameBound(count, NULL) : ZSTD_compressBound(count);
}

size_t cc_frame_encode(enum cc_frame_kind kind, const void *input, size_t count, void *output,
                       size_t capacity) {
    if (kind == CC_FRAME_ZSTD) {
        size_t size = ZSTD_compress(output, capacity, input, count, 1);
        return ZSTD_isError(size) ? 0 : size;
    }
    LZ4F_preferences_t preferences = LZ4F_INIT_PREFERENCES;
    preferences.frameInfo.contentSize = count;
    size_t size = LZ4F_compressFrame(output, capacity, input, count, &preferences);
    return LZ4F_isError(size) ? 0 : size;
}
