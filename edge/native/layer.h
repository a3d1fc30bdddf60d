/* A linear layer over vectors of eight outputs; the compiler knows all sizes, and keeps the sums in registers. */
#ifndef EDGE_LAYER_H
#define EDGE_LAYER_H

#include "activation.h"

enum { EDGE_LANES = 8, EDGE_BLOCK = 8 };

typedef float edge_vector __attribute__((vector_size(32), aligned(32)));

/* weight [inputs, vectors] and bias [vectors], the outputs filled up with zeros to whole vectors. */
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

#endif
