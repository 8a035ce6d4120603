#include "ccodec.h"

#include <string.h>

int cc_lzf_decode(const void *input, size_t count, void *output, size_t output_count) {
    const uint8_t *in = (const uint8_t *)input, *in_end = in + count;
    uint8_t *start = (uint8_t *)output, *out = start, *out_end = start + output_count;
    while (in < in_end) {
        size_t control = *in++;
        if (control < 32) {
            size_t run = control + 1;
            if ((size_t)(in_end - in) < run || (size_t)(out_end - out) < run) return -1;
            memcpy(out, in, run);
            in += run;
            out += run;
            continue;
        }
        size_t run = control >> 5;
        if (run == 7) {
            if (in == in_end) return -1;
            run += *in++;
        }
        run += 2;
        if (in == in_end) return -1;
        size_t distance = ((control & 31) << 8) + *in++ + 1;
        if (distance > (size_t)(out - start) || (size_t)(out_end - out) < run) return -1;
        const uint8_t *from = out - distance;
        if (distance >= run) {
            memcpy(out, from, run);
            out += run;
        } else {
            while (run--) *out++ = *from++;
        }
    }
    return out == out_end ? 0 : -1;
}

enum { STAGE_CONTROL, STAGE_LENGTH, STAGE_DISTANCE, STAGE_COPY };

int64_t cc_lzf_resume(cc_lzf_state *state, const void *input, size_t *count, void *output,
                      size_t room, size_t history) {
    const uint8_t *in = (const uint8_t *)input, *in_end = in + *count;
    uint8_t *start = (uint8_t *)output, *out = start, *out_end = start + room;
    for (;;) {
        if (state->stage == STAGE_COPY) {
            size_t run = state->run;
            if ((size_t)(out_end - out) < run) run = (size_t)(out_end - out);
            if (state->distance == 0) {
                if ((size_t)(in_end - in) < run) run = (size_t)(in_end - in);
                memcpy(out, in, run);
                in += run;
                out += run;
            } else {
                if (state->distance > (size_t)(out - start) + history) return -1;
                const uint8_t *from = out - state->distance;
                for (size_t index = 0; index < run; index++) *out++ = *from++;
            }
            state->run -= (uint32_t)run;
            if (state->run > 0) break;
            state->stage = STAGE_CONTROL;
        }
        if (in == in_end) break;
        uint8_t byte = *in++;
        switch (state->stage) {
        case STAGE_CONTROL:
            state->control = byte;
            state->distance = 0;
            if (byte < 32) {
                state->run = (uint32_t)byte + 1;
                state->stage = STAGE_COPY;
            } else {
                state->run = (uint32_t)(byte >> 5) + 2;
                state->stage = byte >> 5 == 7 ? STAGE_LENGTH : STAGE_DISTANCE;
            }
            break;
        case STAGE_LENGTH:
            state->run += byte;
            state->stage = STAGE_DISTANCE;
            break;
        default:
            state->distance = ((uint32_t)(state->control & 31) << 8) + byte + 1;
            state->stage = STAGE_COPY;
        }
    }
    *count = (size_t)(in - (const uint8_t *)input);
    return out - start;
}

enum { LZF_HASH_BITS = 13, LZF_MATCH_MAX = 264, LZF_DISTANCE_MAX = 8192, LZF_LITERALS_MAX = 32 };

static int flush_literals(const uint8_t *from, size_t count, uint8_t **out, uint8_t *end) {
    while (count) {
        size_t run = count < LZF_LITERALS_MAX ? count : LZF_LITERALS_MAX;
        if ((size_t)(end - *out) < run + 1) return -1;
        *(*out)++ = (uint8_t)(run - 1);
        memcpy(*out, from, run);
        *out += run;
        from += run;
        count -= run;
    }
    return 0;
}

size_t cc_lzf_encode(const void *input, size_t count, void *output, size_t capacity) {
    const uint8_t *in = (const uint8_t *)input;
    uint8_t *out = (uint8_t *)output, *end = out + capacity;
    uint32_t table[1 << LZF_HASH_BITS];
    memset(table, 0, sizeof table);
    size_t position = 0, literals = 0;
    while (position + 3 <= count) {
        uint32_t word = (uint32_t)in[position] << 16 | (uint32_t)in[position + 1] << 8 |
                        in[position + 2];
        uint32_t hash = (word * 2654435761u) >> (32 - LZF_HASH_BITS);
        size_t candidate = table[hash];  // one more than the position, 0 = none
        table[hash] = (uint32_t)(position + 1);
        if (candidate == 0 || position - (candidate - 1) > LZF_DISTANCE_MAX ||
            memcmp(in + candidate - 1, in + position, 3) != 0) {
            position++;
            continue;
        }
        size_t match = candidate - 1, length = 3;
        // Like liblzf, which leaves the last two bytes out of a match: strings gain enough, or not,
        // in the same cases.
        while (length < LZF_MATCH_MAX && position + length + 2 < count &&
               in[match + length] == in[position + length])
            length++;
        if (flush_literals(in + literals, position - literals, &out, end) < 0) return 0;
        size_t distance = position - match - 1, coded = length - 2;
        if (end - out < 3) return 0;
        if (coded < 7) {
            *out++ = (uint8_t)(coded << 5 | distance >> 8);
        } else {
            *out++ = (uint8_t)(7 << 5 | distance >> 8);
            *out++ = (uint8_t)(coded - 7);
        }
        *out++ = (uint8_t)distance;
        position += length;
        literals = position;
    }
    if (flush_literals(in + literals, count - literals, &out, end) < 0) return 0;
    return (size_t)(out - (uint8_t *)output);
}
