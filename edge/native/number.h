/* Converts decimal text to the nearest double, and a float32 to the shortest decimal text that reads back as it. */
#ifndef EDGE_NUMBER_H
#define EDGE_NUMBER_H

#include <float.h>

#include "memory.h"

static const double edge_powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                     1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* Computes digits * 10^exponent, correctly rounded, where that is cheap; returns 0 where strtod is needed.

   Exact when both factors are doubles (W. D. Clinger, "How to read floating point numbers accurately", 1990). With 64
   bit significands at hand, one operation on exact factors is within half a unit of the 64th bit; rounding that once
   more to 53 bits is right unless the 11 bits that go are next to their middle. */
static int edge_cheap_double(uint64_t digits, int exponent, double *value) {
    if (digits <= (UINT64_C(1) << 53) && exponent >= -22 && exponent <= 22) {
        *value = exponent < 0 ? (double) digits / edge_powers[-exponent] : (double) digits * edge_powers[exponent];
        return 1;
    }
#if LDBL_MANT_DIG == 64
    if (exponent >= -22 && exponent <= 22) {
        long double power = edge_powers[exponent < 0 ? -exponent : exponent];
        long double wide = exponent < 0 ? (long double) digits / power : (long double) digits * power;
        uint64_t significand;
        memcpy(&significand, &wide, sizeof significand);
        unsigned gone = (unsigned) (significand & 0x7ff);
        if (gone < 0x3ff || gone > 0x401) {
            *value = (double) wide;
            return 1;
        }
    }
#endif
    return 0;
}

/* Computes the double nearest to a JSON number of any length. */
static int edge_exact_double(edge_arena *arena, const char *text, size_t size, double *value) {
    char small[128], *copy = small;
    if (size >= sizeof small && (copy = edge_take(arena, size, 1)) == NULL) return 0;
    memcpy(copy, text, size);
    copy[size] = '\0';
    *value = strtod(copy, NULL);
    return 1;
}

/* Looks for a decimal of so many digits that reads back as `value`, and leaves it in `text`. Floats are twice as dense
   below a power of two as above it, so there the nearest decimal may fail where the next larger one reads back. */
static int edge_reads_back(float value, int precision, char text[32]) {
    snprintf(text, 32, "%.*e", precision - 1, (double) value);
    if (strtof(text, NULL) == value) return 1;
    int exponent;
    if (frexpf(value, &exponent) != 0.5f) return 0;
    char *last = strchr(text, 'e') - 1;
    if (*last == '9' || *last == '.') return 0;
    ++*last;
    return strtof(text, NULL) == value;
}

/* Finds the shortest decimal digits that read back as this float32; returns their number and the exponent of the first. */
static int edge_shortest(float value, char digits[10], int *exponent) {
    char text[32], shorter[32];
    int precision = 9; /* enough to distinguish any two floats */
    snprintf(text, sizeof text, "%.8e", (double) value);
    while (precision > 1 && edge_reads_back(value, --precision, shorter)) memcpy(text, shorter, sizeof text);
    int count = 0;
    const char *at = text;
    for (; *at != 'e'; at++)
        if (*at >= '0' && *at <= '9') digits[count++] = *at;
    *exponent = atoi(at + 1);
    return count;
}

enum { EDGE_PYTHON, EDGE_ORJSON };

/* Writes a finite float32 as the handler does (Python's json), or as the gateway does (orjson). */
static void edge_put_float(edge_buffer *buffer, float value, int style) {
    if (value == 0) {
        edge_puts(buffer, signbit(value) ? "-0.0" : "0.0");
        return;
    }
    char digits[10];
    int exponent, count = edge_shortest(fabsf(value), digits, &exponent);
    if (value < 0) edge_put(buffer, "-", 1);
    int smallest = style == EDGE_PYTHON ? -4 : -5;
    if (exponent >= 16 || exponent < smallest) {
        edge_put(buffer, digits, 1);
        if (count > 1) edge_put(buffer, ".", 1);
        edge_put(buffer, digits + 1, (size_t) count - 1);
        edge_printf(buffer, style == EDGE_PYTHON ? "e%+03d" : "e%+d", exponent);
    } else if (exponent < 0) {
        edge_puts(buffer, "0.");
        for (int zero = -1; zero > exponent; zero--) edge_put(buffer, "0", 1);
        edge_put(buffer, digits, (size_t) count);
    } else {
        for (int place = 0; place <= exponent || place < count; place++) {
            if (place == exponent + 1) edge_put(buffer, ".", 1);
            edge_put(buffer, place < count ? digits + place : "0", 1);
        }
        if (count <= exponent + 1) edge_puts(buffer, ".0");
    }
}

#endif
