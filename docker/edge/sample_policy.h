#ifndef EDGE_POLICY_H
#define EDGE_POLICY_H
#include "memory.h"
#include "network.h"
#define EDGE_MODEL "sample"
#define EDGE_VERSION "0"
#define EDGE_HEAD "{\042model\042:\042sample\042,\042version\042:\0420\042,\042predictions\042:["
#define EDGE_TAIL "],\042weights\042:\042random\042}"
#define EDGE_SHAPE_ERROR "an observation has shape [1], many have [N, 1]"
#define EDGE_FIELD_LIST ""
enum { EDGE_DIMENSIONS = 1, EDGE_SIZE = 1, EDGE_OUTPUTS = 2 };
#define EDGE_FIELDS 0
enum { EDGE_FLOAT_BITS = 32, EDGE_CLIP = 0 };
static const size_t edge_shape[] = {1};
static const edge_text edge_fields[] = {{"", 0}};
static const double edge_low[] = {-0x1.0000000000000p+0};
static const double edge_high[] = {0x1.0000000000000p+0};
#define EDGE_DISCRETE 0
#define EDGE_MULTI_DISCRETE 1
#define EDGE_MULTI_BINARY 2
#define EDGE_CONTINUOUS 3
#define EDGE_ACTION EDGE_DISCRETE
enum { EDGE_ACTION_START = 0 };
static const float edge_weight0[] __attribute__((aligned(64))) = {0x1.0000000000000p+0f, -0x1.0000000000000p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f};
static const float edge_bias0[] __attribute__((aligned(64))) = {0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f};
static void edge_network(const float *restrict observation, float *restrict action) {
    _Alignas(64) float features[1];
    _Alignas(64) float even[8], odd[8];
    for (int at = 0; at < 1; at++) features[at] = observation[at];
    edge_linear(features, 1, edge_weight0, edge_bias0, 1, even);
    memcpy(action, even, 2 * sizeof *action);
    (void) even, (void) odd;
}
#include "predict.h"
#endif
