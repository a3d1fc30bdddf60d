/* A strict JSON parser for bodies that the fast reader leaves to it. Its errors have the text and the position of
   orjson's, so that edge and gateway send the same bytes. The last of repeated keys counts, as in Python. */
#ifndef EDGE_JSON_H
#define EDGE_JSON_H

#include "number.h"

enum { EDGE_DEPTH = 1024 };

typedef enum { EDGE_NULL, EDGE_BOOLEAN, EDGE_NUMBER, EDGE_STRING, EDGE_LIST, EDGE_OBJECT } edge_kind;

typedef struct edge_node {
    edge_kind kind;
    uint32_t count;                 /* children */
    double number;
    edge_text key, text;            /* decoded */
    struct edge_node *first, *next; /* children of a list or object, in order */
} edge_node;

typedef struct {
    edge_arena *arena;
    const char *start, *at, *end;
    const char *fault; /* NULL without an error */
    const char *place;
    int depth;
} edge_parser;

static const char EDGE_NO_MEMORY[] = "out of memory";

static edge_node *edge_fail(edge_parser *parser, const char *place, const char *fault) {
    parser->place = place >= parser->end ? parser->end : place;
    parser->fault = place >= parser->end ? "unexpected end of data" : fault;
    return NULL;
}

static void edge_skip(edge_parser *parser) {
    while (parser->at < parser->end && (*parser->at == ' ' || *parser->at == '\t' || *parser->at == '\n' || *parser->at == '\r'))
        parser->at++;
}

static int edge_is_digit(const edge_parser *parser, const char *at) { return at < parser->end && *at >= '0' && *at <= '9'; }

static int edge_hex(const edge_parser *parser, const char *at, uint32_t *value) {
    *value = 0;
    for (int place = 0; place < 4; place++, at++) {
        if (at >= parser->end) return 0;
        char byte = *at;
        uint32_t digit;
        if (byte >= '0' && byte <= '9') digit = (uint32_t) (byte - '0');
        else if (byte >= 'a' && byte <= 'f') digit = (uint32_t) (byte - 'a' + 10);
        else if (byte >= 'A' && byte <= 'F') digit = (uint32_t) (byte - 'A' + 10);
        else return 0;
        *value = *value * 16 + digit;
    }
    return 1;
}

/* Reports an escape that the end of the body cuts off as an early end, if its present part is correct. */
static edge_node *edge_bad_escape(edge_parser *parser, const char *escape) {
    size_t left = (size_t) (parser->end - escape);
    int cut = left == 1;
    if (left >= 2 && left <= 5 && escape[1] == 'u') {
        cut = 1;
        for (const char *at = escape + 2; at < parser->end; at++)
            if (!strchr("0123456789abcdefABCDEF", *at) || *at == '\0') cut = 0;
    }
    return edge_fail(parser, cut ? parser->end : escape, "invalid escaped sequence in string");
}

static char *edge_utf8(char *out, uint32_t code) {
    if (code < 0x80) *out++ = (char) code;
    else if (code < 0x800) *out++ = (char) (0xc0 | code >> 6);
    else if (code < 0x10000) {
        *out++ = (char) (0xe0 | code >> 12);
        *out++ = (char) (0x80 | (code >> 6 & 0x3f));
    } else {
        *out++ = (char) (0xf0 | code >> 18);
        *out++ = (char) (0x80 | (code >> 12 & 0x3f));
        *out++ = (char) (0x80 | (code >> 6 & 0x3f));
    }
    if (code >= 0x80) *out++ = (char) (0x80 | (code & 0x3f));
    return out;
}

/* Reads `\uXXXX` at `escape`, and the second half of a surrogate pair; moves `at` behind it. */
static int edge_read_unicode(edge_parser *parser, const char *escape, uint32_t *code) {
    if (!edge_hex(parser, escape + 2, code)) return edge_bad_escape(parser, escape), 0;
    parser->at = escape + 6;
    if (*code < 0xd800 || *code > 0xdfff) return 1;
    if (*code >= 0xdc00) return edge_fail(parser, escape, "invalid high surrogate in string"), 0;
    const char *second = parser->at;
    size_t left = (size_t) (parser->end - second);
    if (left < 2 && (left == 0 || *second == '\\')) return edge_fail(parser, parser->end, ""), 0;
    if (second[0] != '\\' || second[1] != 'u') return edge_fail(parser, escape, "no low surrogate in string"), 0;
    if (left == 2) return edge_fail(parser, parser->end, ""), 0;
    uint32_t low;
    if (!edge_hex(parser, second + 2, &low)) return edge_fail(parser, escape, "invalid escape in string"), 0;
    if (low < 0xdc00 || low > 0xdfff) return edge_fail(parser, escape, "invalid low surrogate in string"), 0;
    *code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
    parser->at = second + 6;
    return 1;
}

/* Reads the string whose opening quote `at` is on. */
static int edge_read_string(edge_parser *parser, edge_text *text) {
    const char *closing = parser->at + 1;
    while (closing < parser->end && *closing != '"') closing += *closing == '\\' ? 2 : 1;
    size_t most = (size_t) ((closing < parser->end ? closing : parser->end) - parser->at);
    char *out = edge_take(parser->arena, most, 1); /* no escape is shorter than the text it encodes */
    if (out == NULL) return edge_fail(parser, parser->start, EDGE_NO_MEMORY), 0;
    text->data = out;
    parser->at++;
    for (;;) {
        if (parser->at >= parser->end) return edge_fail(parser, parser->end, ""), 0;
        unsigned char byte = (unsigned char) *parser->at;
        if (byte == '"') break;
        if (byte < 0x20) return edge_fail(parser, parser->at, "unexpected control character in string"), 0;
        if (byte != '\\') {
            *out++ = *parser->at++;
            continue;
        }
        const char *escape = parser->at;
        char kind = escape + 1 < parser->end ? escape[1] : '\0';
        uint32_t code;
        const char *plain = strchr("\"\"\\\\//b\bf\fn\nr\rt\t", kind);
        if (kind == 'u') {
            if (!edge_read_unicode(parser, escape, &code)) return 0;
            out = edge_utf8(out, code);
        } else if (kind >= '"' && plain != NULL) {
            *out++ = plain[1];
            parser->at += 2;
        } else {
            return edge_bad_escape(parser, escape), 0;
        }
    }
    parser->at++;
    text->size = (size_t) (out - text->data);
    return 1;
}

static int edge_read_number(edge_parser *parser, double *value) {
    const char *start = parser->at, *at = start;
    if (*at == '-') at++;
    if (!edge_is_digit(parser, at)) return edge_fail(parser, at, "no digit after sign"), 0;
    const char *whole = at;
    if (*at == '0' && edge_is_digit(parser, at + 1))
        return edge_fail(parser, at, "number with leading zero is not allowed"), 0;
    while (edge_is_digit(parser, at)) at++;
    int integer = 1;
    if (at < parser->end && *at == '.') {
        integer = 0;
        if (!edge_is_digit(parser, ++at)) return edge_fail(parser, at, "no digit after decimal point"), 0;
        while (edge_is_digit(parser, at)) at++;
    }
    if (at < parser->end && (*at == 'e' || *at == 'E')) {
        integer = 0;
        if (++at < parser->end && (*at == '+' || *at == '-')) at++;
        if (!edge_is_digit(parser, at)) return edge_fail(parser, at, "no digit after exponent sign"), 0;
        while (edge_is_digit(parser, at)) at++;
    }
    if (!edge_exact_double(parser->arena, start, (size_t) (at - start), value))
        return edge_fail(parser, parser->start, EDGE_NO_MEMORY), 0;
    if (isinf(*value)) return edge_fail(parser, start, "number is infinity when parsed as double"), 0;
    if (integer && at - whole == 1 && *whole == '0') *value = 0; /* the whole number -0 has no sign */
    parser->at = at;
    return 1;
}

static int edge_read_word(edge_parser *parser, const char *word, const char *fault) {
    size_t size = strlen(word), left = (size_t) (parser->end - parser->at);
    size_t same = left < size ? left : size;
    if (memcmp(parser->at, word, same) != 0) return edge_fail(parser, parser->at, fault), 0;
    if (left < size) return edge_fail(parser, parser->end, ""), 0;
    parser->at += size;
    return 1;
}

static edge_node *edge_read_value(edge_parser *parser);

static edge_node *edge_read_children(edge_parser *parser, edge_node *node, char close) {
    int object = node->kind == EDGE_OBJECT;
    edge_node **last = &node->first;
    if (++parser->depth > EDGE_DEPTH) {
        parser->fault = "depth limit exceeded";
        parser->place = parser->at + 1;
        return NULL;
    }
    parser->at++;
    edge_skip(parser);
    if (parser->at < parser->end && *parser->at == close) goto done;
    for (const char *comma = NULL;;) {
        edge_text key = {0};
        if (comma != NULL && parser->at < parser->end && *parser->at == close)
            return edge_fail(parser, comma, "trailing comma is not allowed");
        if (object) {
            if (parser->at >= parser->end || *parser->at != '"')
                return edge_fail(parser, parser->at, "unexpected character, expected a string key");
            if (!edge_read_string(parser, &key)) return NULL;
            edge_skip(parser);
            if (parser->at >= parser->end || *parser->at != ':')
                return edge_fail(parser, parser->at, "unexpected character, expected ':' after key");
            parser->at++;
            edge_skip(parser);
        }
        edge_node *child = edge_read_value(parser);
        if (child == NULL) return NULL;
        child->key = key;
        *last = child;
        last = &child->next;
        node->count++;
        edge_skip(parser);
        if (parser->at < parser->end && *parser->at == close) break;
        if (parser->at >= parser->end || *parser->at != ',')
            return edge_fail(parser, parser->at,
                             object ? "unexpected character, expected ',' or '}'" : "unexpected character, expected ',' or ']'");
        comma = parser->at++;
        edge_skip(parser);
    }
done:
    parser->at++;
    parser->depth--;
    return node;
}

static edge_node *edge_read_value(edge_parser *parser) {
    if (parser->at >= parser->end) return edge_fail(parser, parser->end, "");
    edge_node *node = edge_take(parser->arena, 1, sizeof *node);
    if (node == NULL) return edge_fail(parser, parser->start, EDGE_NO_MEMORY);
    memset(node, 0, sizeof *node);
    switch (*parser->at) {
    case '{': node->kind = EDGE_OBJECT; return edge_read_children(parser, node, '}');
    case '[': node->kind = EDGE_LIST; return edge_read_children(parser, node, ']');
    case '"': node->kind = EDGE_STRING; return edge_read_string(parser, &node->text) ? node : NULL;
    case 't': node->kind = EDGE_BOOLEAN; return edge_read_word(parser, "true", "invalid literal, expected 'true'") ? node : NULL;
    case 'f': node->kind = EDGE_BOOLEAN; return edge_read_word(parser, "false", "invalid literal, expected 'false'") ? node : NULL;
    case 'n': node->kind = EDGE_NULL; return edge_read_word(parser, "null", "invalid literal, expected 'null'") ? node : NULL;
    case '+': case '.': case '-': case '0': case '1': case '2': case '3': case '4': case '5': case '6': case '7': case '8': case '9':
        node->kind = EDGE_NUMBER;
        return edge_read_number(parser, &node->number) ? node : NULL;
    default: return edge_fail(parser, parser->at, "unexpected character, expected a JSON value");
    }
}

/* Well-formed UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF (Unicode 15, table 3-7). */
static int edge_is_utf8(const char *text, size_t size) {
    const unsigned char *at = (const unsigned char *) text, *end = at + size;
    while (at < end) {
        unsigned char lead = *at++;
        if (lead < 0x80) continue;
        if (lead < 0xc2 || lead > 0xf4) return 0;
        int more = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
        if (end - at < more) return 0;
        unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
        unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
        if (*at < low || *at > high) return 0;
        for (at++; --more > 0; at++)
            if (*at < 0x80 || *at > 0xbf) return 0;
    }
    return 1;
}

static size_t edge_characters(const char *text, size_t size) {
    size_t count = 0;
    for (size_t at = 0; at < size; at++) count += ((unsigned char) text[at] & 0xc0) != 0x80;
    return count;
}

/* Returns the document, or NULL with `fault` and `place` set; the place is counted in characters. */
static edge_node *edge_parse(edge_arena *arena, const char *text, size_t size, const char **fault, size_t *place) {
    edge_parser parser = {.arena = arena, .start = text, .at = text, .end = text + size};
    *place = 0;
    if (!edge_is_utf8(text, size)) {
        *fault = "str is not valid UTF-8: surrogates not allowed";
        return NULL;
    }
    edge_skip(&parser);
    edge_node *node = NULL;
    if (parser.at == parser.end) {
        parser.fault = size == 0 ? "Input is a zero-length, empty document" : "input data is empty";
        parser.place = text;
    } else if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        parser.fault = "UTF-8 byte order mark (BOM) is not supported";
        parser.place = text;
    } else if ((node = edge_read_value(&parser)) != NULL) {
        edge_skip(&parser);
        if (parser.at == parser.end) return node;
        parser.fault = "unexpected content after document";
        parser.place = parser.at;
    }
    *fault = parser.fault;
    *place = edge_characters(text, (size_t) (parser.place - text));
    return NULL;
}

#endif
