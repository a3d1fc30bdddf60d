/* Reads a body of one of the usual forms in one pass into numbers. It never refuses a body. It leaves any other body
   (a repeated field, an escape in a name, a mistake) to the strict parser, which has the error messages. */
#ifndef EDGE_FAST_READER_H
#define EDGE_FAST_READER_H

#include "observation.h"

typedef struct {
    const char *at, *end;
    int expected; /* the field that follows when a client keeps their order */
} edge_reader;

static inline int edge_blank(edge_reader *reader) {
    while (reader->at < reader->end) {
        char byte = *reader->at;
        if (byte != ' ' && byte != '\n' && byte != '\t' && byte != '\r') return byte;
        reader->at++;
    }
    return -1;
}

static inline int edge_fast_token(edge_reader *reader, char token) {
    if (edge_blank(reader) != token) return 0;
    reader->at++;
    return 1;
}

static inline int edge_fast_number(edge_reader *reader, double *value) {
    const char *at = reader->at, *end = reader->end;
    uint64_t digits = 0;
    int negative = at < end && *at == '-', exponent = 0;
    at += negative;
    const char *first = at;
    while (at < end && (unsigned char) (*at - '0') < 10) digits = digits * 10 + (uint64_t) (*at++ - '0');
    int64_t count = at - first;
    if (count == 0 || (*first == '0' && count > 1)) return 0;
    int integer = 1;
    if (at < end && *at == '.') {
        const char *point = ++at;
        integer = 0;
        while (at < end && (unsigned char) (*at - '0') < 10) digits = digits * 10 + (uint64_t) (*at++ - '0');
        if (at == point) return 0;
        exponent = (int) (point - at);
        count += at - point;
    }
    if (count > 19) return 0; /* the sum may have overflowed */
    if (at < end && (*at | 0x20) == 'e') {
        int power = 0, minus;
        integer = 0;
        at++;
        minus = at < end && *at == '-';
        if (at < end && (*at == '-' || *at == '+')) at++;
        const char *start = at;
        while (at < end && (unsigned char) (*at - '0') < 10 && at - start < 4) power = power * 10 + (*at++ - '0');
        if (at == start || at - start == 4) return 0;
        exponent += minus ? -power : power;
    }
    if (digits == 0) *value = 0;
    else if (!edge_cheap_double(digits, exponent, value)) {
        char copy[32];
        if (at - reader->at >= (int64_t) sizeof copy) return 0;
        memcpy(copy, reader->at, (size_t) (at - reader->at));
        copy[at - reader->at] = '\0';
        *value = strtod(copy, NULL);
        if (isinf(*value)) return 0;
        negative = 0; /* strtod has seen the sign */
    }
    if (negative && !(integer && digits == 0)) *value = -*value;
    reader->at = at;
    return 1;
}

static inline int edge_fast_list(edge_reader *reader, double *values, int axis) {
    if (!edge_fast_token(reader, '[')) return 0;
    size_t stride = 1;
    for (int inner = axis + 1; inner < EDGE_DIMENSIONS; inner++) stride *= edge_shape[inner];
    for (size_t at = 0; at < edge_shape[axis]; at++) {
        if (at && !edge_fast_token(reader, ',')) return 0;
        if (axis + 1 < EDGE_DIMENSIONS) {
            if (!edge_fast_list(reader, values + at * stride, axis + 1)) return 0;
        } else {
            edge_blank(reader);
            if (!edge_fast_number(reader, values + at)) return 0;
        }
    }
    return edge_fast_token(reader, ']');
}

#if EDGE_FIELDS
static inline int edge_fast_field(edge_reader *reader, int field) {
    size_t size = edge_fields[field].size;
    if ((size_t) (reader->end - reader->at) < size + 1 || reader->at[size] != '"') return 0;
    if (memcmp(reader->at, edge_fields[field].data, size) != 0) return 0;
    reader->at += size + 1;
    return 1;
}

static inline int edge_fast_object(edge_reader *reader, double *values) {
    char seen[EDGE_FIELDS] = {0};
    if (!edge_fast_token(reader, '{')) return 0;
    for (int count = 0; count < EDGE_FIELDS; count++) {
        if ((count && !edge_fast_token(reader, ',')) || !edge_fast_token(reader, '"')) return 0;
        int field = reader->expected;
        if (!edge_fast_field(reader, field)) {
            for (field = 0; field < EDGE_FIELDS && !edge_fast_field(reader, field); field++) {}
            if (field == EDGE_FIELDS) return 0;
        }
        reader->expected = field + 1 < EDGE_FIELDS ? field + 1 : 0;
        if (seen[field]++ || !edge_fast_token(reader, ':')) return 0;
        edge_blank(reader);
        if (!edge_fast_number(reader, values + field)) return 0;
    }
    return edge_fast_token(reader, '}');
}
#else
static inline int edge_fast_object(edge_reader *reader, double *values) { return (void) reader, (void) values, 0; }
#endif

/* A list of observations; `at` is on its bracket, and `values` has room for `room` observations. */
static inline int edge_fast_many(edge_reader *reader, edge_observations *found, size_t room) {
    if (!edge_fast_token(reader, '[')) return 0;
    do {
        double *values = found->values + found->count * EDGE_SIZE;
        int next = edge_blank(reader);
        if (found->count++ == room) return 0;
        if (!(next == '{' ? edge_fast_object(reader, values) : edge_fast_list(reader, values, 0))) return 0;
    } while (edge_fast_token(reader, ','));
    return edge_fast_token(reader, ']');
}

/* Returns 1 with the observations in `found`, which has room for `room`, or 0 to leave the body to the strict parser. */
static inline int edge_read_fast(const char *body, size_t size, int only_state, edge_observations *found, size_t room) {
    edge_reader reader = {body, body + size, 0};
    found->count = 1;
    int kind = edge_blank(&reader), fine;
    if (kind == '{') {
        const char *start = reader.at;
        fine = edge_fast_object(&reader, found->values);
        if (!fine) {
            static const char name[] = "\"instances\"";
            reader.at = start + 1;
            if (only_state || edge_blank(&reader) != '"' || (size_t) (reader.end - reader.at) < sizeof name - 1) return 0;
            if (memcmp(reader.at, name, sizeof name - 1) != 0) return 0;
            reader.at += sizeof name - 1;
            found->count = 0;
            fine = edge_fast_token(&reader, ':') && edge_fast_many(&reader, found, room) && edge_fast_token(&reader, '}');
        }
    } else if (kind == '[' && !only_state) {
        const char *start = reader.at;
        fine = edge_fast_list(&reader, found->values, 0);
        if (!fine) {
            reader.at = start;
            found->count = 0;
            /* A bare list may not hold objects; clients send those as instances. */
            const char *inside = start + 1;
            while (inside < reader.end && (*inside == ' ' || *inside == '\n' || *inside == '\t' || *inside == '\r')) inside++;
            fine = inside < reader.end && *inside == '[' && edge_fast_many(&reader, found, room);
        }
    } else {
        return 0;
    }
    return fine && edge_blank(&reader) == -1;
}

#endif
