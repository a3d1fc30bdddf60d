/* Linear layers over vectors of eight outputs, and the activations of torch.nn.

   The compiler knows all sizes and keeps the sums of a layer in registers. The activations have no branches, so that it
   vectorises them; each stays within 1e-6 of the exact value, relative to it where that is above 1. A test measures all
   of them. */
#ifndef EDGE_NETWORK_H
#define EDGE_NETWORK_H

#include <stddef.h>
#include <stdint.h>

enum { EDGE_LANES = 8, EDGE_BLOCK = 8 };

typedef float edge_vector __attribute__((vector_size(32), aligned(32)));

/* weight [inputs, vectors] and bias [vectors], the outputs padded with zeros to whole vectors. */
static inline __attribute__((always_inline)) void edge_linear(const float *restrict input, int inputs, const float *restrict weight,
                                                              const float *restrict bias, int vectors, float *restrict output) {
    const edge_vector *weights = (const edge_vector *) weight, *biases = (const edge_vector *) bias;
    edge_vector *outputs = (edge_vector *) output;
    for (int first = 0; first < vectors; first += EDGE_BLOCK) {
        int count = vectors - first < EDGE_BLOCK ? vectors - first : EDGE_BLOCK;
        edge_vector sum[EDGE_BLOCK];
#pragma GCC unroll 8
        for (int at = 0; at < EDGE_BLOCK; at++)
            if (at < count) sum[at] = biases[first + at];
        for (int from = 0; from < inputs; from++) {
            const edge_vector *row = weights + (size_t) from * (size_t) vectors + first;
#pragma GCC unroll 8
            for (int at = 0; at < EDGE_BLOCK; at++)
                if (at < count) sum[at] += input[from] * row[at];
        }
#pragma GCC unroll 8
        for (int at = 0; at < EDGE_BLOCK; at++)
            if (at < count) outputs[first + at] = sum[at];
    }
}

#define EDGE_ACTIVATE(name, values, count)                                                                                        \
    for (int at = 0; at < (count); at++) (values)[at] = edge_##name((values)[at])

static inline float edge_least(float x, float most) { return x > most ? most : x; }
static inline float edge_most(float x, float least) { return x < least ? least : x; }

/* e^x = 2^n e^r with |r| <= ln(2)/2; Taylor's series to r^7 leaves 1e-8 there. Between e^-87 and e^88. */
static inline float edge_exp(float x) {
    union { float real; uint32_t bits; } shifted, power;
    x = edge_least(edge_most(x, -87.0f), 88.0f);
    shifted.real = x * 1.44269504088896f + 12582912.0f; /* 1.5 * 2^23: moves the integer part to the lowest bits */
    float n = shifted.real - 12582912.0f;
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f; /* ln 2 in two parts, the first exact times any n */
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    power.bits = (shifted.bits << 23) + 0x3f800000u;
    return p * power.real;
}

/* e^x - 1 for x <= 0. */
static inline float edge_expm1(float x) {
    float tiny = x * (1.0f + x * (0.5f + x * (1.0f / 6 + x * (1.0f / 24))));
    float wide = edge_exp(x) - 1.0f;
    return x > -0.05f ? tiny : wide;
}

/* ln(1 + t) for 0 <= t <= 1, as twice the artanh of t / (2 + t). */
static inline float edge_log1p(float t) {
    float s = t / (2.0f + t), q = s * s;
    float p = 1.0f / 13;
    p = p * q + 1.0f / 11;
    p = p * q + 1.0f / 9;
    p = p * q + 1.0f / 7;
    p = p * q + 1.0f / 5;
    p = p * q + 1.0f / 3;
    p = p * q + 1.0f;
    return 2.0f * s * p;
}

static inline float edge_absolute(float x) { return x < 0 ? -x : x; }
static inline float edge_with_sign(float magnitude, float x) { return x < 0 ? -magnitude : magnitude; }

static inline float edge_Tanh(float x) {
    float e = edge_exp(edge_absolute(x) * -2.0f);
    return edge_with_sign((1.0f - e) / (1.0f + e), x);
}
static inline float edge_Sigmoid(float x) {
    float e = edge_exp(-edge_absolute(x));
    float r = 1.0f / (1.0f + e);
    return x < 0 ? e * r : r;
}
static inline float edge_Softplus(float x) { return edge_most(x, 0.0f) + edge_log1p(edge_exp(-edge_absolute(x))); }
static inline float edge_LogSigmoid(float x) { return -edge_Softplus(-x); }
static inline float edge_SiLU(float x) { return x * edge_Sigmoid(x); }
static inline float edge_Mish(float x) { return x * edge_Tanh(edge_Softplus(x)); }
static inline float edge_Tanhshrink(float x) { return x - edge_Tanh(x); }
static inline float edge_Softsign(float x) { return x / (1.0f + edge_absolute(x)); }
static inline float edge_Identity(float x) { return x; }
static inline float edge_ReLU(float x) { return edge_most(x, 0.0f); }
static inline float edge_ReLU6(float x) { return edge_least(edge_most(x, 0.0f), 6.0f); }
static inline float edge_LeakyReLU(float x) { return x < 0 ? x * 0.01f : x; }
static inline float edge_Hardtanh(float x) { return edge_least(edge_most(x, -1.0f), 1.0f); }
static inline float edge_Hardsigmoid(float x) { return edge_ReLU6(x + 3.0f) / 6.0f; }
static inline float edge_Hardswish(float x) { return x * edge_Hardsigmoid(x); }
static inline float edge_ELU(float x) {
    float below = edge_expm1(edge_least(x, 0.0f));
    return x < 0 ? below : x;
}
static inline float edge_CELU(float x) { return edge_ELU(x); }
static inline float edge_SELU(float x) {
    float below = 1.6732632423543772f * edge_expm1(edge_least(x, 0.0f));
    return 1.0507009873554805f * (x < 0 ? below : x);
}

/* x times the normal distribution function of x: erfc after Abramowitz and Stegun, 7.1.26, within 1.5e-7. */
static inline float edge_GELU(float x) {
    float z = edge_absolute(x) * 0.70710678118654752f;
    float t = 1.0f / (1.0f + 0.3275911f * z);
    float p = 1.061405429f;
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    float rest = 0.5f * p * t * edge_exp(-z * z);
    return x * (x < 0 ? rest : 1.0f - rest);
}

#endif
