/* The nginx module of the edge: `edge SIZE;` in a location has the compiled policy answer bodies of at most SIZE bytes.

     POST /predict, /models/MODEL/predict, /models/MODEL/versions/VERSION/predict
     GET  /healthz, /metrics

   The module reads the body into memory and sends the response in one piece. Its errors have the text of the gateway's.
   nginx's own errors (a malformed head, a slow body) come here through error_page. */
#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "policy.h"

#include "draining.h"
#include "metrics.h"

typedef struct {
    size_t max_body;
    ngx_shm_zone_t *zone;
} edge_conf;

typedef struct {
    edge_text id;
    int form;
    edge_route route;
    uint64_t started; /* ns */
} edge_request;

extern ngx_module_t ngx_http_edge_module;

static uint64_t edge_random;

static uint64_t edge_next_random(void) { /* splitmix64: request ids must be unique, not secret */
    uint64_t z = edge_random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static ngx_table_elt_t *edge_header_in(ngx_http_request_t *r, const char *name, size_t size) {
    ngx_list_part_t *part = &r->headers_in.headers.part;
    for (; part; part = part->next) {
        ngx_table_elt_t *header = part->elts;
        for (ngx_uint_t at = 0; at < part->nelts; at++)
            if (header[at].key.len == size && memcmp(header[at].lowcase_key, name, size) == 0) return &header[at];
    }
    return NULL;
}

/* Returns the client's id when it is printable ASCII of at most 128 characters, else a new one of 32 hex digits. */
static edge_text edge_request_id(ngx_http_request_t *r) {
    ngx_table_elt_t *offered = edge_header_in(r, "x-request-id", 12);
    if (offered != NULL && offered->value.len >= 1 && offered->value.len <= 128) {
        size_t at = 0;
        while (at < offered->value.len && offered->value.data[at] >= 0x20 && offered->value.data[at] <= 0x7e) at++;
        if (at == offered->value.len) return (edge_text){(char *) offered->value.data, at};
    }
    u_char *made = ngx_pnalloc(r->pool, 32);
    if (made == NULL) return (edge_text){"", 0};
    uint64_t parts[2] = {edge_next_random(), edge_next_random()};
    ngx_hex_dump(made, (u_char *) parts, sizeof parts);
    return (edge_text){(char *) made, 32};
}

static void *edge_from_pool(void *pool, size_t size) { return ngx_palloc(pool, size); }

static ngx_int_t edge_add_header(ngx_http_request_t *r, const char *name, size_t name_size, edge_text value) {
    ngx_table_elt_t *header = ngx_list_push(&r->headers_out.headers);
    if (header == NULL) return NGX_ERROR;
    header->hash = 1;
    header->key = (ngx_str_t){name_size, (u_char *) name};
    header->value = (ngx_str_t){value.size, (u_char *) value.data};
    return NGX_OK;
}
#define EDGE_ADD_HEADER(r, name, value) edge_add_header(r, name, sizeof(name) - 1, value)
#define EDGE_TEXT(literal) ((edge_text){literal, sizeof(literal) - 1})

static ngx_int_t edge_send(ngx_http_request_t *r, edge_request *request, edge_reply reply, edge_text type) {
    ngx_buf_t *buffer = ngx_calloc_buf(r->pool);
    ngx_chain_t chain = {buffer, NULL};
    edge_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_edge_module);
    if (buffer == NULL) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    r->headers_out.status = (ngx_uint_t) reply.status;
    r->headers_out.content_length_n = (off_t) reply.size;
    r->headers_out.content_type = (ngx_str_t){type.size, (u_char *) type.data};
    r->headers_out.content_type_len = type.size;
    if (EDGE_ADD_HEADER(r, "x-request-id", request->id) != NGX_OK ||
        EDGE_ADD_HEADER(r, "x-content-type-options", EDGE_TEXT("nosniff")) != NGX_OK)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    if (reply.status == 200 && request->route <= EDGE_LAST_PREDICTION &&
        EDGE_ADD_HEADER(r, "x-model-version", EDGE_TEXT(EDGE_VERSION)) != NGX_OK)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    edge_count(conf->zone, request->route, reply.status, edge_now() - request->started);
    if (edge_draining) r->keepalive = 0;
    buffer->pos = buffer->start = (u_char *) reply.body;
    buffer->last = buffer->end = buffer->pos + reply.size;
    buffer->memory = 1;
    buffer->last_buf = r == r->main;
    buffer->last_in_chain = 1;
    ngx_int_t sent = ngx_http_send_header(r);
    if (sent == NGX_ERROR || sent > NGX_OK || r->header_only) return sent;
    return ngx_http_output_filter(r, &chain);
}

static ngx_int_t edge_send_error(ngx_http_request_t *r, edge_request *request, int status, const char *code, const char *detail) {
    edge_arena arena = {r->pool, edge_from_pool};
    return edge_send(r, request, edge_error(&arena, status, code, detail, strlen(detail), request->id),
                     EDGE_TEXT("application/json"));
}

/* Returns the body in one piece; copies it where it came in several, or is in a file. */
static int edge_whole_body(ngx_http_request_t *r, edge_text *body) {
    ngx_chain_t *link = r->request_body ? r->request_body->bufs : NULL;
    size_t size = 0;
    *body = (edge_text){"", 0};
    if (link == NULL) return 1;
    if (link->next == NULL && ngx_buf_in_memory(link->buf)) {
        *body = (edge_text){(char *) link->buf->pos, (size_t) (link->buf->last - link->buf->pos)};
        return 1;
    }
    for (ngx_chain_t *each = link; each; each = each->next) size += (size_t) ngx_buf_size(each->buf);
    u_char *whole = ngx_palloc(r->pool, size + 1), *at = whole;
    if (whole == NULL) return 0;
    for (ngx_chain_t *each = link; each; each = each->next) {
        size_t part = (size_t) ngx_buf_size(each->buf);
        if (part == 0) continue; /* a chunked body ends with an empty buffer */
        if (ngx_buf_in_memory(each->buf)) memcpy(at, each->buf->pos, part);
        else if (ngx_read_file(each->buf->file, at, part, each->buf->file_pos) != (ssize_t) part) return 0;
        at += part;
    }
    *body = (edge_text){(char *) whole, size};
    return 1;
}

static int edge_is_json(ngx_http_request_t *r) {
    static const char json[] = "application/json";
    ngx_table_elt_t *type = r->headers_in.content_type;
    if (type == NULL) return 0;
    u_char *at = type->value.data, *end = at + type->value.len, *semicolon = ngx_strlchr(at, end, ';');
    if (semicolon) end = semicolon;
    while (at < end && (*at == ' ' || *at == '\t')) at++;
    while (at < end && (end[-1] == ' ' || end[-1] == '\t')) end--;
    return end - at == sizeof json - 1 && ngx_strncasecmp(at, (u_char *) json, sizeof json - 1) == 0;
}

static ngx_int_t edge_answer_body(ngx_http_request_t *r, edge_request *request) {
    edge_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_edge_module);
    edge_arena arena = {r->pool, edge_from_pool};
    edge_text body;
    char words[96];
    if (!edge_whole_body(r, &body)) return edge_send_error(r, request, 500, "internal", "the body could not be read");
    if (body.size > conf->max_body) {
        snprintf(words, sizeof words, "the body is larger than the %zu bytes that are accepted", conf->max_body);
        return edge_send_error(r, request, 413, "too_large", words);
    }
    if (body.size == 0) return edge_send_error(r, request, 400, "unreadable_input", "the body is empty");
    if (!edge_is_json(r)) return edge_send_error(r, request, 415, "wrong_type", "send application/json");
    edge_reply reply = edge_answer(&arena, body.data, body.size, request->form, request->id);
    return edge_send(r, request, reply, EDGE_TEXT("application/json"));
}

static void edge_body_handler(ngx_http_request_t *r) {
    ngx_http_finalize_request(r, edge_answer_body(r, ngx_http_get_module_ctx(r, ngx_http_edge_module)));
}

/* Refuses without reading the body; nginx discards it afterwards, or closes the connection. */
static ngx_int_t edge_refuse_early(ngx_http_request_t *r, edge_request *request, int status, const char *code, const char *detail) {
    if (ngx_http_discard_request_body(r) != NGX_OK) r->keepalive = 0;
    return edge_send_error(r, request, status, code, detail);
}

static int edge_bad_deadline(ngx_http_request_t *r) {
    ngx_table_elt_t *header = edge_header_in(r, "x-deadline-ms", 13);
    if (header == NULL) return 0;
    if (header->value.len == 0 || header->value.len > 18) return 1;
    for (size_t at = 0; at < header->value.len; at++)
        if (header->value.data[at] < '0' || header->value.data[at] > '9') return 1;
    return 0;
}

static ngx_int_t edge_predict(ngx_http_request_t *r, edge_request *request) {
    edge_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_edge_module);
    char words[96];
    ngx_table_elt_t *encoding = edge_header_in(r, "content-encoding", 16);
    if (edge_bad_deadline(r))
        return edge_refuse_early(r, request, 400, "unreadable_input", "X-Deadline-Ms must be a whole number of milliseconds");
    if (encoding && encoding->value.len && !(encoding->value.len == 8 && ngx_strncasecmp(encoding->value.data, (u_char *) "identity", 8) == 0))
        return edge_refuse_early(r, request, 415, "wrong_type", "compressed bodies are not read; send the body without Content-Encoding");
    if (r->headers_in.content_length_n > (off_t) conf->max_body) {
        snprintf(words, sizeof words, "the body is larger than the %zu bytes that are accepted", conf->max_body);
        return edge_refuse_early(r, request, 413, "too_large", words);
    }
    r->request_body_in_single_buf = 1;
    ngx_int_t read = ngx_http_read_client_request_body(r, edge_body_handler);
    return read >= NGX_HTTP_SPECIAL_RESPONSE ? read : NGX_DONE;
}

typedef struct {
    edge_route route;
    edge_text model, version;
} edge_match;

/* Matches /models/MODEL/predict and /models/MODEL/versions/VERSION/predict. */
static int edge_match_model(edge_text path, edge_match *match) {
    static const char prefix[] = "/models/", predict[] = "/predict", versions[] = "/versions/";
    size_t before = sizeof prefix - 1, behind = sizeof predict - 1, between = sizeof versions - 1;
    if (path.size <= before + behind || memcmp(path.data, prefix, before) != 0) return 0;
    if (memcmp(path.data + path.size - behind, predict, behind) != 0) return 0;
    const char *start = path.data + before, *end = path.data + path.size - behind;
    const char *slash = memchr(start, '/', (size_t) (end - start));
    if (slash == NULL) {
        *match = (edge_match){EDGE_ROUTE_MODEL, {start, (size_t) (end - start)}, {NULL, 0}};
        return 1;
    }
    if (slash == start || (size_t) (end - slash) <= between || memcmp(slash, versions, between) != 0) return 0;
    const char *version = slash + between;
    if (memchr(version, '/', (size_t) (end - version)) != NULL) return 0;
    *match = (edge_match){EDGE_ROUTE_VERSION, {start, (size_t) (slash - start)}, {version, (size_t) (end - version)}};
    return 1;
}

static ngx_int_t edge_unknown_model(ngx_http_request_t *r, edge_request *request, const edge_match *match) {
    edge_arena arena = {r->pool, edge_from_pool};
    edge_buffer name = {.arena = &arena}, detail = {.arena = &arena};
    if (match->version.size) {
        edge_puts(&name, "version ");
        edge_put(&name, match->version.data, match->version.size);
        edge_puts(&name, " of ");
    }
    edge_puts(&name, "model ");
    edge_put(&name, match->model.data, match->model.size);
    size_t size = 0, characters = 0;
    for (; size < name.size; size++)
        if (((unsigned char) name.data[size] & 0xc0) != 0x80 && characters++ == 200) break;
    edge_puts(&detail, "no ");
    edge_put(&detail, name.data, edge_is_utf8(name.data, size) ? size : 0);
    edge_puts(&detail, " is registered");
    if (detail.failed || ngx_http_discard_request_body(r) != NGX_OK) r->keepalive = 0;
    return edge_send(r, request, edge_error(&arena, 404, "unknown_model", detail.data, detail.size, request->id),
                     EDGE_TEXT("application/json"));
}

/* Answers an error of nginx itself: its status, in the shape of every error. */
static ngx_int_t edge_from_nginx(ngx_http_request_t *r, edge_request *request) {
    edge_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_edge_module);
    char words[96];
    switch (r->err_status) {
    case 408: return edge_send_error(r, request, 408, "request_timeout", "the request did not arrive in time");
    case 413:
        snprintf(words, sizeof words, "the body is larger than the %zu bytes that are accepted", conf->max_body);
        return edge_send_error(r, request, 413, "too_large", words);
    case 405: return edge_send_error(r, request, 405, "method_not_allowed", "Method Not Allowed");
    case 414: return edge_send_error(r, request, 414, "uri_too_long", "URI Too Long");
    case 501: return edge_send_error(r, request, 501, "not_implemented", "Not Implemented");
    case 505: return edge_send_error(r, request, 505, "http_version_not_supported", "HTTP Version Not Supported");
    case 400: case 494: case 495: case 496: case 497:
        return edge_send_error(r, request, 400, "unreadable_input", "the request is not HTTP that is read here");
    default:
        if (r->err_status < 500) return edge_send_error(r, request, 400, "unreadable_input", "the request is refused");
        return edge_send_error(r, request, 500, "internal", "the edge failed on this request");
    }
}

static ngx_int_t edge_not_allowed(ngx_http_request_t *r, edge_request *request, edge_text allowed) {
    if (EDGE_ADD_HEADER(r, "Allow", allowed) != NGX_OK) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    return edge_refuse_early(r, request, 405, "method_not_allowed", "Method Not Allowed");
}

static ngx_int_t edge_show(ngx_http_request_t *r, edge_request *request) {
    edge_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_edge_module);
    if (!(r->method & NGX_HTTP_GET)) return edge_not_allowed(r, request, EDGE_TEXT("GET"));
    if (ngx_http_discard_request_body(r) != NGX_OK) r->keepalive = 0;
    if (request->route == EDGE_ROUTE_HEALTH)
        return edge_send(r, request, (edge_reply){200, "{\"status\":\"alive\"}", 18}, EDGE_TEXT("application/json"));
    edge_arena arena = {r->pool, edge_from_pool};
    edge_buffer text = {.arena = &arena};
    edge_put_metrics(&text, conf->zone);
    if (text.failed) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    return edge_send(r, request, (edge_reply){200, text.data, text.size}, EDGE_TEXT("text/plain; version=0.0.4; charset=utf-8"));
}

static int edge_path_is(ngx_http_request_t *r, const char *path, size_t size) { return r->uri.len == size && memcmp(r->uri.data, path, size) == 0; }
#define EDGE_PATH_IS(r, path) edge_path_is(r, path, sizeof(path) - 1)

static ngx_int_t edge_handler(ngx_http_request_t *r) {
    edge_request *request = ngx_palloc(r->pool, sizeof *request);
    edge_match match = {EDGE_ROUTE_SHORT, EDGE_TEXT(EDGE_MODEL), {NULL, 0}};
    if (request == NULL) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    *request = (edge_request){edge_request_id(r), EDGE_ANY, EDGE_ROUTE_NONE, edge_now()};
    ngx_http_set_ctx(r, request, ngx_http_edge_module);
    if (r->err_status) return edge_from_nginx(r, request);
    if (EDGE_PATH_IS(r, "/healthz") || EDGE_PATH_IS(r, "/metrics")) {
        request->route = EDGE_PATH_IS(r, "/healthz") ? EDGE_ROUTE_HEALTH : EDGE_ROUTE_METRICS;
        return edge_show(r, request);
    }
    if (EDGE_PATH_IS(r, "/predict")) request->form = EDGE_STATE;
    else if (!edge_match_model((edge_text){(char *) r->uri.data, r->uri.len}, &match))
        return edge_refuse_early(r, request, 404, "not_found", "Not Found");
    request->route = match.route;
    if (!(r->method & NGX_HTTP_POST)) return edge_not_allowed(r, request, EDGE_TEXT("POST"));
    if (edge_same(match.model, EDGE_TEXT(EDGE_MODEL)) && (!match.version.size || edge_same(match.version, EDGE_TEXT(EDGE_VERSION))))
        return edge_predict(r, request);
    if (edge_bad_deadline(r))
        return edge_refuse_early(r, request, 400, "unreadable_input", "X-Deadline-Ms must be a whole number of milliseconds");
    return edge_unknown_model(r, request, &match);
}

static void *edge_create_conf(ngx_conf_t *cf) {
    edge_conf *conf = ngx_pcalloc(cf->pool, sizeof *conf);
    if (conf == NULL) return NULL;
    conf->max_body = NGX_CONF_UNSET_SIZE;
    conf->zone = NGX_CONF_UNSET_PTR;
    return conf;
}

static char *edge_merge_conf(ngx_conf_t *cf, void *outer, void *inner) {
    edge_conf *from = outer, *conf = inner;
    (void) cf;
    ngx_conf_merge_size_value(conf->max_body, from->max_body, 1024 * 1024);
    ngx_conf_merge_ptr_value(conf->zone, from->zone, NULL);
    return NGX_CONF_OK;
}

static char *edge_set(ngx_conf_t *cf, ngx_command_t *command, void *data) {
    edge_conf *conf = data;
    ngx_str_t name = ngx_string("edge_metrics"), *words = cf->args->elts;
    ngx_http_core_loc_conf_t *location = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    (void) command;
    ssize_t most = ngx_parse_size(&words[1]);
    if (most <= 0) return "needs the size of the largest body";
    conf->max_body = (size_t) most;
    location->handler = edge_handler;
    /* The tag is an address of nginx itself: the next module has other addresses, and must find the same counters. */
    conf->zone = ngx_shared_memory_add(cf, &name, 8 * ngx_pagesize, &ngx_http_core_module);
    if (conf->zone == NULL) return NGX_CONF_ERROR;
    conf->zone->init = edge_init_zone;
    return NGX_CONF_OK;
}

static ngx_int_t edge_init_process(ngx_cycle_t *cycle) {
    FILE *source = fopen("/dev/urandom", "rb");
    if (source == NULL || fread(&edge_random, sizeof edge_random, 1, source) != 1)
        edge_random = (uint64_t) ngx_pid << 32 ^ edge_now();
    if (source) fclose(source);
    return edge_delay_quit(cycle);
}

static ngx_command_t edge_commands[] = {
    {ngx_string("edge"), NGX_HTTP_LOC_CONF | NGX_CONF_TAKE1, edge_set, NGX_HTTP_LOC_CONF_OFFSET, 0, NULL}, ngx_null_command};

static ngx_http_module_t edge_context = {NULL, NULL, NULL, NULL, NULL, NULL, edge_create_conf, edge_merge_conf};

ngx_module_t ngx_http_edge_module = {NGX_MODULE_V1, &edge_context, edge_commands, NGX_HTTP_MODULE, NULL, NULL, edge_init_process,
                                     NULL,          NULL,          NULL,          NULL,            NGX_MODULE_V1_PADDING};

/* The symbols that nginx looks up in a dynamic module. */
ngx_module_t *ngx_modules[] = {&ngx_http_edge_module, NULL};
char *ngx_module_names[] = {"ngx_http_edge_module", NULL};
char *ngx_module_order[] = {NULL};
