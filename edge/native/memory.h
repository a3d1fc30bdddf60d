/* Memory that is released at once when its request ends, and growing texts in it. */
#ifndef EDGE_MEMORY_H
#define EDGE_MEMORY_H

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    void *context;
    void *(*allocate)(void *context, size_t size); /* NULL when memory is exhausted */
} edge_arena;

typedef struct {
    const char *data;
    size_t size;
} edge_text;

/* A growing text. After a failed allocation `failed` is set and nothing more is written. */
typedef struct {
    edge_arena *arena;
    char *data;
    size_t size, room;
    int failed;
} edge_buffer;

static void *edge_take(edge_arena *arena, size_t count, size_t size) {
    if (size != 0 && count > SIZE_MAX / 2 / size) return NULL;
    return arena->allocate(arena->context, count * size + 1);
}

static int edge_reserve(edge_buffer *buffer, size_t more) {
    if (buffer->failed) return 0;
    if (buffer->room - buffer->size >= more) return 1;
    size_t room = (buffer->size + more) * 2;
    char *data = edge_take(buffer->arena, room, 1);
    if (data == NULL) {
        buffer->failed = 1;
        return 0;
    }
    if (buffer->size) memcpy(data, buffer->data, buffer->size);
    buffer->data = data;
    buffer->room = room;
    return 1;
}

static void edge_put(edge_buffer *buffer, const char *data, size_t size) {
    if (size == 0 || !edge_reserve(buffer, size)) return;
    memcpy(buffer->data + buffer->size, data, size);
    buffer->size += size;
}

static void edge_puts(edge_buffer *buffer, const char *text) { edge_put(buffer, text, strlen(text)); }

/* Writes at most 511 bytes. */
__attribute__((format(printf, 2, 3))) static void edge_printf(edge_buffer *buffer, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (size > 0) edge_put(buffer, text, (size_t) size < sizeof text ? (size_t) size : sizeof text - 1);
}

/* Writes a JSON string with orjson's escapes: UTF-8 stays unchanged, control characters are escaped. */
static void edge_put_json(edge_buffer *buffer, const char *data, size_t size) {
    edge_put(buffer, "\"", 1);
    for (size_t start = 0, at = 0;; at++) {
        unsigned char byte = at < size ? (unsigned char) data[at] : '"';
        if (byte >= 0x20 && byte != '"' && byte != '\\') continue;
        edge_put(buffer, data + start, at - start);
        if (at == size) break;
        start = at + 1;
        switch (byte) {
        case '"': edge_puts(buffer, "\\\""); break;
        case '\\': edge_puts(buffer, "\\\\"); break;
        case '\b': edge_puts(buffer, "\\b"); break;
        case '\t': edge_puts(buffer, "\\t"); break;
        case '\n': edge_puts(buffer, "\\n"); break;
        case '\f': edge_puts(buffer, "\\f"); break;
        case '\r': edge_puts(buffer, "\\r"); break;
        default: edge_printf(buffer, "\\u%04x", byte);
        }
    }
    edge_put(buffer, "\"", 1);
}

#endif
