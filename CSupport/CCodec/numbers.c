#include "ccodec.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t cc_double_text(double value, char *out) {
    if (isinf(value)) {
        const char *text = value > 0 ? "inf" : "-inf";
        memcpy(out, text, strlen(text));
        return strlen(text);
    }
    // Most scores are whole numbers: %.0f is exact and shortest for them.
    if (fabs(value) < 1e15 && value == floor(value))
        return (size_t)snprintf(out, CC_DOUBLE_TEXT_CAPACITY, "%.0f", value);
    int length = 0;
    for (int digits = 15; digits <= 17; digits++) {
        length = snprintf(out, CC_DOUBLE_TEXT_CAPACITY, "%.*g", digits, value);
        if (strtod(out, NULL) == value) break;
    }
    return (size_t)length;
}

int cc_double_parse(const void *text, size_t count, double *out) {
    char buffer[128];
    if (count == 0 || count >= sizeof buffer) return -1;
    memcpy(buffer, text, count);
    buffer[count] = 0;
    char *end;
    double value = strtod(buffer, &end);
    if (end != buffer + count || isnan(value)) return -1;
    *out = value;
    return 0;
}
