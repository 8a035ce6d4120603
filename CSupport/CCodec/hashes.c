#include "ccodec.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static uint16_t crc16_table[8][256];
static uint64_t crc64_table[8][256];

// Tables are filled before main, so that no first use races with another.
__attribute__((constructor)) static void fill_tables(void) {
    for (unsigned i = 0; i < 256; i++) {
        uint16_t crc = (uint16_t)(i << 8);
        for (int bit = 0; bit < 8; bit++)
            crc = (uint16_t)(crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1);
        crc16_table[0][i] = crc;

        uint64_t wide = i;
        for (int bit = 0; bit < 8; bit++)
            wide = wide & 1 ? (wide >> 1) ^ 0x95AC9329AC4BC9B5u : wide >> 1;
        crc64_table[0][i] = wide;
    }
    for (unsigned i = 0; i < 256; i++)
        for (int k = 1; k < 8; k++) {
            uint16_t crc = crc16_table[k - 1][i];
            crc16_table[k][i] = (uint16_t)(crc16_table[0][crc >> 8] ^ (crc << 8));
            crc64_table[k][i] = crc64_table[0][crc64_table[k - 1][i] & 0xff] ^
                                (crc64_table[k - 1][i] >> 8);
        }
}

size_t cc_hash_tag(const void *key, size_t count, size_t *start) {
    const char *bytes = (const char *)key;
    *start = 0;
    const char *open = count ? (const char *)memchr(bytes, '{', count) : NULL;
    if (!open) return count;
    const char *tag = open + 1;
    size_t rest = count - (size_t)(tag - bytes);
    const char *close = rest ? (const char *)memchr(tag, '}', rest) : NULL;
    if (!close || close == tag) return count;
    *start = (size_t)(tag - bytes);
    return (size_t)(close - tag);
}

uint16_t cc_key_slot(const void *key, size_t count) {
    size_t start;
    size_t length = cc_hash_tag(key, count, &start);
    const uint8_t *bytes = (const uint8_t *)key + start;
    uint16_t crc = 0;
    while (length >= 8) {
        crc = crc16_table[7][(crc >> 8) ^ bytes[0]] ^ crc16_table[6][(crc & 0xff) ^ bytes[1]] ^
              crc16_table[5][bytes[2]] ^ crc16_table[4][bytes[3]] ^ crc16_table[3][bytes[4]] ^
              crc16_table[2][bytes[5]] ^ crc16_table[1][bytes[6]] ^ crc16_table[0][bytes[7]];
        bytes += 8;
        length -= 8;
    }
    while (length-- > 0)
        crc = (uint16_t)((crc << 8) ^ crc16_table[0][((crc >> 8) ^ *bytes++) & 0xff]);
    return crc & 0x3fff;
}

uint64_t cc_crc64(uint64_t crc, const void *data, size_t count) {
    const uint8_t *bytes = (const uint8_t *)data;
    while (count >= 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        crc ^= word;
        crc = crc64_table[7][crc & 0xff] ^ crc64_table[6][(crc >> 8) & 0xff] ^
              crc64_table[5][(crc >> 16) & 0xff] ^ crc64_table[4][(crc >> 24) & 0xff] ^
              crc64_table[3][(crc >> 32) & 0xff] ^ crc64_table[2][(crc >> 40) & 0xff] ^
              crc64_table[1][(crc >> 48) & 0xff] ^ crc64_table[0][crc >> 56];
        bytes += 8;
        count -= 8;
    }
    while (count--) crc = crc64_table[0][(crc ^ *bytes++) & 0xff] ^ (crc >> 8);
    return crc;
}

uint64_t cc_xxh64(const void *bytes, size_t count, uint64_t seed) {
    return XXH64(bytes, count, seed);
}
