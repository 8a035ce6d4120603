// Checksums, hashes, compression and number text used on the wire.
//
// All input is untrusted: every function reads exactly the bytes it is given and writes at most
// the capacity it is given, whatever the input holds.
#ifndef CCODEC_H
#define CCODEC_H

#include <stddef.h>
#include <stdint.h>

// ---- hashes --------------------------------------------------------------------------------

// Redis Cluster slot of a key, 0...16383: CRC16-XMODEM of the hash tag (the text between the
// first '{' and the first '}' after it, if not empty) or of the whole key.
uint16_t cc_key_slot(const void *_Nonnull key, size_t count);

// The hash tag as Redis and Dragonfly see it: stores where it starts and returns its length;
// the whole key when it has none.
size_t cc_hash_tag(const void *_Nonnull key, size_t count, size_t *_Nonnull start);

// CRC-64 of a DUMP payload (Jones, reflected, initial 0), continued from crc.
uint64_t cc_crc64(uint64_t crc, const void *_Nonnull bytes, size_t count);

// Standard XXH64.
uint64_t cc_xxh64(const void *_Nonnull bytes, size_t count, uint64_t seed);

// ---- compression ---------------------------------------------------------------------------

typedef struct cc_frame_decoder cc_frame_decoder;

enum cc_frame_kind { CC_FRAME_LZ4 = 0, CC_FRAME_ZSTD = 1 };
enum cc_frame_status { CC_FRAME_MORE = 0, CC_FRAME_END = 1, CC_FRAME_DAMAGED = -1 };

// A streaming decoder of one frame format, NULL when memory ran out. It allocates its window
// on the first frame and keeps it.
cc_frame_decoder *_Nullable cc_frame_create(enum cc_frame_kind kind);
void cc_frame_destroy(cc_frame_decoder *_Nonnull decoder);

// Forgets a frame in progress.
void cc_frame_reset(cc_frame_decoder *_Nonnull decoder);

// Decompresses what fits. *input_count and *output_count are room on entry and bytes used on
// return. CC_FRAME_END: the frame is complete and all its output was written. After
// CC_FRAME_DAMAGED the decoder must be reset.
enum cc_frame_status cc_frame_decode(cc_frame_decoder *_Nonnull decoder,
                                     const void *_Nonnull input, size_t *_Nonnull input_count,
                                     void *_Nonnull output, size_t *_Nonnull output_count);

// Upper bound for cc_frame_encode.
size_t cc_frame_bound(enum cc_frame_kind kind, size_t count);

// Compresses one frame with its content size, as Dragonfly writes it (protocol.md 3.5).
// Returns the size, 0 on failure.
size_t cc_frame_encode(enum cc_frame_kind kind, const void *_Nonnull input, size_t count,
                       void *_Nonnull output, size_t capacity);

// LZF (protocol.md 3.4.3): returns 0 when the input decodes to exactly output_count bytes.
int cc_lzf_decode(const void *_Nonnull input, size_t count, void *_Nonnull output,
                  size_t output_count);

// LZF in pieces. Zero the state before the first one.
typedef struct {
    uint32_t run;      // bytes of the literals or of the match in hand still to be written
    uint32_t distance; // of the match; 0 for literals
    uint8_t stage;     // what the next byte of input is; 0 between two of these
    uint8_t control;
} cc_lzf_state;

// Decompresses what input and room allow. *count is the size of the input, and then how much of it
// was used. The `history` bytes before `output` must be what was written last: all of it, or the
// last 8192 bytes, which is as far as a match reaches.
// Returns the bytes written, or -1 if the input is damaged.
int64_t cc_lzf_resume(cc_lzf_state *_Nonnull state, const void *_Nonnull input,
                      size_t *_Nonnull count, void *_Nonnull output, size_t room,
                      size_t history);

// Whether the input may end here.
static inline int cc_lzf_is_whole(const cc_lzf_state *_Nonnull state) {
    return state->stage == 0;
}

// Compresses to LZF; returns the size, 0 when it does not fit capacity.
size_t cc_lzf_encode(const void *_Nonnull input, size_t count, void *_Nonnull output,
                     size_t capacity);

// ---- numbers -------------------------------------------------------------------------------

enum { CC_DOUBLE_TEXT_CAPACITY = 32 };

// Shortest decimal text that reads back as exactly value ("inf" and "-inf" for infinities).
// Returns its length.
size_t cc_double_text(double value, char *_Nonnull out);

// Reads a whole decimal text (also inf, -inf). Returns 0, or -1 when it is not a number, is NaN,
// or has more than 127 bytes.
int cc_double_parse(const void *_Nonnull text, size_t count, double *_Nonnull out);

#endif
