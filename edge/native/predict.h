/* From the body of a request to its response: read it, check it against the space, compute the action, write it. */
#ifndef EDGE_PREDICT_H
#define EDGE_PREDICT_H

#include "fast_reader.h"

/* The forms of a request: any form that the handler reads, or one state of named fields for the short response. */
enum { EDGE_ANY, EDGE_STATE };

typedef struct {
    int status;
    const char *body;
    size_t size;
} edge_reply;

static const edge_reply EDGE_NO_REPLY = {503, "{\"error\":\"no_worker\",\"detail\":\"the edge is out of memory\"}", 58};

static edge_reply edge_error(edge_arena *arena, int status, const char *code, const char *detail, size_t size, edge_text id) {
    edge_buffer out = {.arena = arena};
    edge_puts(&out, "{\"error\":\"");
    edge_puts(&out, code);
    edge_puts(&out, "\",\"detail\":");
    edge_put_json(&out, detail, size);
    edge_puts(&out, ",\"request_id\":");
    edge_put_json(&out, id.data, id.size);
    edge_puts(&out, "}");
    return out.failed ? EDGE_NO_REPLY : (edge_reply){status, out.data, out.size};
}

static int edge_outside(edge_problem *problem, const edge_observations *found, size_t at, double low, double high) {
    edge_buffer *detail = edge_refuse(problem, 422, "invalid_fields");
    size_t inner = at % EDGE_SIZE;
    if (found->count > 1) edge_printf(detail, "instances[%zu]: ", at / EDGE_SIZE);
    if (EDGE_FIELDS) edge_put(detail, edge_fields[inner % (EDGE_FIELDS + !EDGE_FIELDS)].data, edge_fields[inner % (EDGE_FIELDS + !EDGE_FIELDS)].size);
    else {
        size_t left = EDGE_SIZE;
        for (int axis = 0; axis < EDGE_DIMENSIONS; axis++) {
            left /= edge_shape[axis];
            edge_printf(detail, "%s%zu", axis ? ", " : "observation[", inner / left % edge_shape[axis]);
        }
        edge_puts(detail, "]");
    }
    edge_printf(detail, " is %.6g, outside of %.6g to %.6g", found->values[at], low, high);
    return 0;
}

/* Converts one observation to the network's input; returns 0 when a value is outside of the space. */
static int edge_into_space(edge_problem *problem, const edge_observations *found, size_t number, float *input) {
    const double *values = found->values + number * EDGE_SIZE;
    for (size_t at = 0; at < EDGE_SIZE; at++) {
        /* Compared in the type of the space, in which its bounds are stored. */
        double typed = EDGE_FLOAT_BITS == 32 ? (double) (float) values[at] : values[at];
        double low = edge_low[at], high = edge_high[at];
        if (EDGE_CLIP) typed = typed < low ? low : typed > high ? high : typed;
        if (!(typed >= low && typed <= high && isfinite(typed)))
            return edge_outside(problem, found, number * EDGE_SIZE + at, low, high);
        input[at] = (float) typed;
    }
    return 1;
}

static int edge_are_whole(edge_problem *problem, const edge_observations *found) {
    for (size_t at = 0; EDGE_FLOAT_BITS == 0 && at < found->count * EDGE_SIZE; at++)
        if (floor(found->values[at]) != found->values[at])
            return edge_invalid(problem, "the observation must hold whole numbers");
    return 1;
}

static int edge_is_finite(const float *output) {
    for (size_t at = 0; at < EDGE_OUTPUTS; at++)
        if (!isfinite(output[at])) return 0;
    return 1;
}

static int edge_argmax(const float *output, int count) {
    int best = 0;
    for (int at = 1; at < count; at++)
        if (output[at] > output[best]) best = at;
    return best;
}

static void edge_put_whole(edge_buffer *out, long value) {
    if (value >= 0 && value <= 9) {
        char digit = (char) ('0' + value);
        edge_put(out, &digit, 1);
    } else edge_printf(out, "%ld", value);
}

static void edge_put_action(edge_buffer *out, const float *output, int style) {
#if EDGE_ACTION == EDGE_DISCRETE
    (void) style;
    edge_put_whole(out, edge_argmax(output, EDGE_OUTPUTS) + EDGE_ACTION_START);
#elif EDGE_ACTION == EDGE_MULTI_DISCRETE
    (void) style;
    for (size_t at = 0; at < sizeof edge_choices / sizeof *edge_choices; output += edge_choices[at++]) {
        edge_puts(out, at ? "," : "[");
        edge_put_whole(out, edge_argmax(output, edge_choices[at]));
    }
    edge_puts(out, "]");
#elif EDGE_ACTION == EDGE_MULTI_BINARY
    (void) style;
    for (size_t at = 0; at < EDGE_OUTPUTS; at++) {
        edge_puts(out, at ? "," : "[");
        edge_put_whole(out, output[at] > 0);
    }
    edge_puts(out, "]");
#else
    enum { AXES = sizeof edge_action_shape / sizeof *edge_action_shape };
    for (size_t at = 0; at < EDGE_OUTPUTS; at++) {
        size_t inside = 1;
        if (at) edge_puts(out, ",");
        for (int axis = AXES - 1; axis >= 0; axis--)
            if (at % (inside *= edge_action_shape[axis]) == 0) edge_puts(out, "[");
        edge_put_float(out, output[at], style);
        inside = 1;
        for (int axis = AXES - 1; axis >= 0; axis--)
            if ((at + 1) % (inside *= edge_action_shape[axis]) == 0) edge_puts(out, "]");
    }
#endif
}

static int edge_write_response(edge_problem *problem, const edge_observations *found, int form, edge_buffer *out) {
    _Alignas(64) float input[EDGE_SIZE], output[EDGE_OUTPUTS];
    if (!edge_are_whole(problem, found)) return 0;
    if (!edge_reserve(out, sizeof EDGE_HEAD + sizeof EDGE_TAIL + found->count * 24)) return edge_no_memory(problem);
    if (form == EDGE_ANY) edge_puts(out, EDGE_HEAD);
    int finite = 1;
    for (size_t number = 0; number < found->count; number++) {
        if (!edge_into_space(problem, found, number, input)) return 0;
        edge_network(input, output);
        finite &= edge_is_finite(output);
        if (!finite) continue; /* a later value outside of the space is reported instead */
        edge_puts(out, number ? ",{\"action\":" : "{\"action\":");
        edge_put_action(out, output, form == EDGE_ANY ? EDGE_PYTHON : EDGE_ORJSON);
        edge_put(out, "}", 1);
    }
    if (!finite) {
        edge_puts(edge_refuse(problem, 500, "internal"), "model " EDGE_MODEL " failed on this request");
        return 0;
    }
    if (form == EDGE_ANY) edge_puts(out, EDGE_TAIL);
    return out->failed ? edge_no_memory(problem) : 1;
}

static int edge_read_strict(edge_problem *problem, const char *body, size_t size, int form, edge_observations *found) {
    const char *fault;
    size_t place;
    const edge_node *payload = edge_parse(problem->arena, body, size, &fault, &place);
    if (payload == NULL && fault == EDGE_NO_MEMORY) return edge_no_memory(problem);
    if (payload == NULL) {
        edge_printf(edge_refuse(problem, 400, "unreadable_input"), "the body is not valid JSON: %s (at %zu)", fault, place);
        return 0;
    }
    if (form == EDGE_STATE && (payload->kind != EDGE_OBJECT || edge_child(payload, (edge_text){"instances", 9})))
        return edge_invalid(problem, "the body must be one state: an object of named fields");
    if (payload->kind != EDGE_OBJECT && payload->kind != EDGE_LIST)
        return edge_invalid(problem, "a state is an object of named fields or an array");
    return edge_read_observations(problem, payload, found);
}

enum { EDGE_SMALL_BODY = 512 };

/* Returns the response to one body whose content type is JSON; errors contain `id`. */
static edge_reply edge_answer(edge_arena *arena, const char *body, size_t size, int form, edge_text id) {
    double small[EDGE_SMALL_BODY / 2 + EDGE_SIZE];
    edge_problem problem = {.arena = arena};
    edge_buffer out = {.arena = arena};
    edge_observations found = {small, 0};
    /* Some programs begin every text with a byte order mark. */
    if (size >= 3 && memcmp(body, "\xef\xbb\xbf", 3) == 0) body += 3, size -= 3;
    /* A number and its separator take at least two bytes. */
    size_t room = size / (2 * EDGE_SIZE) + 1;
    if (size > EDGE_SMALL_BODY) found.values = edge_take(arena, room, EDGE_SIZE * sizeof(double));
    int fine = found.values != NULL ? 1 : edge_no_memory(&problem);
    fine = fine && (edge_read_fast(body, size, form == EDGE_STATE, &found, room) || edge_read_strict(&problem, body, size, form, &found));
    fine = fine && edge_write_response(&problem, &found, form, &out);
    if (fine) return (edge_reply){200, out.data, out.size};
    if (problem.detail.failed) return EDGE_NO_REPLY;
    return edge_error(arena, problem.status, problem.code, problem.detail.data, problem.detail.size, id);
}

#endif
