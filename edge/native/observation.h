/* Reads observations out of parsed JSON, with the error messages of the handler (handlers/observations.py,
   handlers/request_body.py). It handles every body that the fast reader does not read. */
#ifndef EDGE_OBSERVATION_H
#define EDGE_OBSERVATION_H

#include "json.h"

typedef struct {
    edge_arena *arena;
    int status; /* 0 without an error */
    const char *code;
    edge_buffer detail;
} edge_problem;

typedef struct {
    double *values; /* [count, EDGE_SIZE] */
    size_t count;
} edge_observations;

static edge_buffer *edge_refuse(edge_problem *problem, int status, const char *code) {
    problem->status = status;
    problem->code = code;
    problem->detail = (edge_buffer){.arena = problem->arena};
    return &problem->detail;
}

static int edge_invalid(edge_problem *problem, const char *detail) {
    edge_puts(edge_refuse(problem, 422, "invalid_fields"), detail);
    return 0;
}

static int edge_no_memory(edge_problem *problem) {
    edge_puts(edge_refuse(problem, 503, "no_worker"), "the edge is out of memory");
    return 0;
}

/* Puts the location of an error in front of its message. */
static int edge_add_location(edge_problem *problem, const char *place) {
    edge_buffer inner = problem->detail;
    problem->detail = (edge_buffer){.arena = problem->arena};
    edge_printf(&problem->detail, "%s: ", place);
    edge_put(&problem->detail, inner.data, inner.size);
    return 0;
}

static int edge_same(edge_text left, edge_text right) {
    return left.size == right.size && memcmp(left.data, right.data, left.size) == 0;
}

/* Returns the last child of that name, the one that a dict keeps. */
static const edge_node *edge_child(const edge_node *object, edge_text name) {
    const edge_node *found = NULL;
    for (const edge_node *child = object->first; child; child = child->next)
        if (edge_same(child->key, name)) found = child;
    return found;
}

static int edge_is_field(edge_text name) {
    for (int field = 0; field < EDGE_FIELDS; field++)
        if (edge_same(name, edge_fields[field])) return 1;
    return 0;
}

static int edge_by_text(const void *left, const void *right) {
    const edge_text *a = left, *b = right;
    int order = memcmp(a->data, b->data, a->size < b->size ? a->size : b->size);
    return order ? order : (a->size > b->size) - (a->size < b->size);
}

/* Writes the unknown names of an object, sorted, unique and shortened as in handlers/request_body.py; returns their number. */
static size_t edge_put_unknown(edge_buffer *out, const edge_node *object, int (*is_known)(edge_text)) {
    edge_text *names = edge_take(out->arena, object->count, sizeof *names);
    size_t count = 0, different = 0;
    if (names == NULL) return 0;
    for (const edge_node *child = object->first; child; child = child->next)
        if (!is_known(child->key)) names[count++] = child->key;
    if (count) qsort(names, count, sizeof *names, edge_by_text);
    for (size_t at = 0; at < count; at++)
        if (at == 0 || !edge_same(names[at], names[different - 1])) names[different++] = names[at];
    for (size_t at = 0; at < different && at < 5; at++) {
        size_t bytes = 0, characters = 0;
        for (; bytes < names[at].size; bytes++)
            if (((unsigned char) names[at].data[bytes] & 0xc0) != 0x80 && characters++ == 40) break;
        if (at) edge_puts(out, ", ");
        edge_put(out, names[at].data, bytes);
    }
    if (different > 5) edge_puts(out, ", ...");
    return different;
}

static const char *edge_kind_name(const edge_node *node) {
    static const char *names[] = {"null", "a boolean", "a number", "text", "a list", "an object"};
    return names[node->kind];
}

static int edge_not_a_number(edge_problem *problem, const edge_node *node) {
    edge_printf(edge_refuse(problem, 422, "invalid_fields"), "%s instead of a number", edge_kind_name(node));
    return 0;
}

enum { EDGE_MOST_DIMENSIONS = 8 };

typedef struct {
    size_t shape[EDGE_MOST_DIMENSIONS + 1];
    int dimensions;
    const edge_node **leaves;
    size_t count;
} edge_array;

/* Reads nested lists of numbers, level by level. */
static int edge_read_array(edge_problem *problem, const edge_node *list, int most, edge_array *array) {
    const edge_node **level = edge_take(problem->arena, list->count, sizeof *level);
    if (level == NULL) return edge_no_memory(problem);
    size_t count = 0;
    for (const edge_node *child = list->first; child; child = child->next) level[count++] = child;
    array->dimensions = 1;
    array->shape[0] = count;
    while (count && level[0]->kind == EDGE_LIST) {
        size_t inner = level[0]->count, next = 0;
        if (array->dimensions == most) {
            edge_printf(edge_refuse(problem, 422, "invalid_fields"), "lists are nested deeper than %d", most);
            return 0;
        }
        for (size_t at = 0; at < count; at++)
            if (level[at]->kind != EDGE_LIST || level[at]->count != inner)
                return edge_invalid(problem, "lists at the same level must have the same length");
        array->shape[array->dimensions++] = inner;
        const edge_node **opened = edge_take(problem->arena, count, (inner ? inner : 1) * sizeof *opened);
        if (opened == NULL) return edge_no_memory(problem);
        for (size_t at = 0; at < count; at++)
            for (const edge_node *child = level[at]->first; child; child = child->next) opened[next++] = child;
        level = opened;
        count = next;
    }
    for (size_t at = 0; at < count; at++)
        if (level[at]->kind != EDGE_NUMBER) return edge_not_a_number(problem, level[at]);
    array->leaves = level;
    array->count = count;
    return 1;
}

/* Returns 1 if the last dimensions of an array are those of one observation. */
static int edge_fits(const edge_array *array) {
    if (array->dimensions < EDGE_DIMENSIONS || array->dimensions > EDGE_DIMENSIONS + 1) return 0;
    int many = array->dimensions - EDGE_DIMENSIONS;
    for (int axis = 0; axis < EDGE_DIMENSIONS; axis++)
        if (array->shape[many + axis] != edge_shape[axis]) return 0;
    return !many || array->shape[0] > 0;
}

static void edge_copy(double *values, const edge_array *array) {
    for (size_t at = 0; at < array->count; at++) values[at] = array->leaves[at]->number;
}

static int edge_named(edge_problem *problem, const edge_node *object, double *values) {
    if (EDGE_FIELDS == 0) return edge_invalid(problem, "this policy has no named fields; send an array");
    edge_buffer missing = {.arena = problem->arena};
    for (int field = 0; field < EDGE_FIELDS; field++)
        if (edge_child(object, edge_fields[field]) == NULL) {
            edge_puts(&missing, missing.size ? ", " : "missing field: ");
            edge_put(&missing, edge_fields[field].data, edge_fields[field].size);
        }
    if (missing.size) {
        edge_put(edge_refuse(problem, 422, "invalid_fields"), missing.data, missing.size);
        return 0;
    }
    for (const edge_node *child = object->first; child; child = child->next)
        if (!edge_is_field(child->key)) {
            edge_buffer *detail = edge_refuse(problem, 422, "invalid_fields");
            edge_puts(detail, "unknown field: ");
            edge_put_unknown(detail, object, edge_is_field);
            edge_puts(detail, "; the fields are " EDGE_FIELD_LIST);
            return 0;
        }
    for (int field = 0; field < EDGE_FIELDS; field++) {
        const edge_node *child = edge_child(object, edge_fields[field]);
        if (child->kind != EDGE_NUMBER) {
            if (child->kind == EDGE_LIST) edge_invalid(problem, "lists are nested deeper than 1");
            else edge_not_a_number(problem, child);
            return edge_add_location(problem, edge_fields[field].data);
        }
        values[field] = child->number;
    }
    return 1;
}

static int edge_one(edge_problem *problem, const edge_node *item, double *values) {
    edge_array array;
    if (item->kind == EDGE_OBJECT) return edge_named(problem, item, values);
    if (item->kind == EDGE_NUMBER && EDGE_DIMENSIONS == 1 && EDGE_SIZE == 1 && EDGE_FIELDS == 0) {
        values[0] = item->number;
        return 1;
    }
    if (item->kind != EDGE_LIST)
        return edge_invalid(problem, "an observation must be an array or an object of named fields");
    if (!edge_read_array(problem, item, EDGE_DIMENSIONS, &array)) return 0;
    if (array.dimensions != EDGE_DIMENSIONS || !edge_fits(&array)) return edge_invalid(problem, EDGE_SHAPE_ERROR);
    edge_copy(values, &array);
    return 1;
}

static int edge_is_instances(edge_text name) { return edge_same(name, (edge_text){"instances", 9}); }

static int edge_is_observation(edge_text name) { return edge_same(name, (edge_text){"observation", 11}); }

/* The options of the handler that this program refuses: it does not sample and does not mask actions. */
static int edge_has_option(const edge_node *payload) {
    return edge_child(payload, (edge_text){"deterministic", 13}) || edge_child(payload, (edge_text){"seed", 4}) ||
           edge_child(payload, (edge_text){"action_masks", 12});
}

static int edge_no_options(edge_problem *problem) {
    return edge_invalid(problem, "the edge answers deterministically and without masks; send deterministic, seed and "
                                 "action_masks to the gateway");
}

static int edge_instances(edge_problem *problem, const edge_node *payload, edge_observations *found) {
    if (edge_has_option(payload)) return edge_no_options(problem);
    edge_buffer unknown = {.arena = problem->arena};
    if (edge_put_unknown(&unknown, payload, edge_is_instances)) {
        edge_buffer *detail = edge_refuse(problem, 422, "invalid_fields");
        edge_puts(detail, "unknown field beside instances: ");
        edge_put(detail, unknown.data, unknown.size);
        return 0;
    }
    const edge_node *items = edge_child(payload, (edge_text){"instances", 9});
    if (items->kind != EDGE_LIST || items->count == 0)
        return edge_invalid(problem, "instances must be a list that is not empty");
    found->count = items->count;
    found->values = edge_take(problem->arena, items->count, EDGE_SIZE * sizeof(double));
    if (found->values == NULL) return edge_no_memory(problem);
    size_t at = 0;
    for (const edge_node *item = items->first; item; item = item->next, at++)
        if (!edge_one(problem, item, found->values + at * EDGE_SIZE)) {
            char place[48];
            if (problem->status == 503) return 0;
            snprintf(place, sizeof place, "instances[%zu]", at);
            return edge_add_location(problem, place);
        }
    return 1;
}

/* Reads {"observation": ...}, one observation of any form. */
static int edge_observation(edge_problem *problem, const edge_node *payload, double *values) {
    if (edge_has_option(payload)) return edge_no_options(problem);
    edge_buffer unknown = {.arena = problem->arena};
    if (edge_put_unknown(&unknown, payload, edge_is_observation)) {
        edge_buffer *detail = edge_refuse(problem, 422, "invalid_fields");
        edge_puts(detail, "unknown field beside observation: ");
        edge_put(detail, unknown.data, unknown.size);
        return 0;
    }
    return edge_one(problem, edge_child(payload, (edge_text){"observation", 11}), values);
}

/* Reads the observations of one parsed request. */
static int edge_read_observations(edge_problem *problem, const edge_node *payload, edge_observations *found) {
    edge_array array;
    if (payload->kind == EDGE_OBJECT && edge_child(payload, (edge_text){"instances", 9}))
        return edge_instances(problem, payload, found);
    if (payload->kind == EDGE_OBJECT) {
        found->count = 1;
        found->values = edge_take(problem->arena, EDGE_SIZE, sizeof(double));
        if (found->values == NULL) return edge_no_memory(problem);
        edge_text name = {"observation", 11};
        if (edge_child(payload, name) && !edge_is_field(name)) return edge_observation(problem, payload, found->values);
        return edge_named(problem, payload, found->values);
    }
    if (!edge_read_array(problem, payload, EDGE_DIMENSIONS + 1, &array)) return 0;
    if (!edge_fits(&array)) return edge_invalid(problem, EDGE_SHAPE_ERROR);
    found->count = array.dimensions == EDGE_DIMENSIONS ? 1 : array.shape[0];
    found->values = edge_take(problem->arena, array.count, sizeof(double));
    if (found->values == NULL) return edge_no_memory(problem);
    edge_copy(found->values, &array);
    return 1;
}

#endif
