/* Counters and latencies in memory that all workers share, and their text for Prometheus. */
#ifndef EDGE_METRICS_H
#define EDGE_METRICS_H

#include <time.h>

typedef enum { EDGE_ROUTE_SHORT, EDGE_ROUTE_MODEL, EDGE_ROUTE_VERSION, EDGE_LAST_PREDICTION = EDGE_ROUTE_VERSION,
               EDGE_ROUTE_HEALTH, EDGE_ROUTE_METRICS, EDGE_ROUTE_NONE, EDGE_ROUTES } edge_route;

static const char *edge_route_names[] = {"/predict", "/models/{model}/predict", "/models/{model}/versions/{version}/predict",
                                         "/healthz", "/metrics", "unmatched"};
static const int edge_statuses[] = {200, 400, 404, 405, 408, 413, 414, 415, 422, 500, 501, 503, 505};
/* Nanoseconds, from one prediction to the longest time that a slow body may take. */
static const uint64_t edge_bounds[] = {1000,   2000,    5000,    10000,    20000,    50000,     100000,
                                       200000, 500000, 1000000, 10000000, 100000000, 1000000000, 10000000000};
static const char *edge_bound_names[] = {"1e-06", "2e-06", "5e-06", "1e-05", "2e-05", "5e-05", "0.0001",
                                         "0.0002", "0.0005", "0.001", "0.01", "0.1", "1.0", "10.0"};

enum { EDGE_STATUSES = sizeof edge_statuses / sizeof *edge_statuses, EDGE_BOUNDS = sizeof edge_bounds / sizeof *edge_bounds };

typedef struct {
    ngx_atomic_t requests[EDGE_ROUTES][EDGE_STATUSES];
    ngx_atomic_t latency[EDGE_LAST_PREDICTION + 1][EDGE_BOUNDS + 1];
    ngx_atomic_t nanoseconds[EDGE_LAST_PREDICTION + 1];
} edge_counters;

static uint64_t edge_now(void) {
    struct timespec moment;
    clock_gettime(CLOCK_MONOTONIC, &moment);
    return (uint64_t) moment.tv_sec * 1000000000u + (uint64_t) moment.tv_nsec;
}

static ngx_int_t edge_init_zone(ngx_shm_zone_t *zone, void *before) {
    if (before != NULL) {
        zone->data = before; /* a reload keeps the counters */
        return NGX_OK;
    }
    ngx_slab_pool_t *pool = (ngx_slab_pool_t *) zone->shm.addr;
    zone->data = ngx_slab_calloc(pool, sizeof(edge_counters));
    return zone->data ? NGX_OK : NGX_ERROR;
}

static void edge_count(ngx_shm_zone_t *zone, edge_route route, int status, uint64_t nanoseconds) {
    edge_counters *counters = zone->data;
    int at = 0, bound = 0;
    while (at < EDGE_STATUSES - 1 && edge_statuses[at] != status) at++;
    ngx_atomic_fetch_add(&counters->requests[route][at], 1);
    if (route > EDGE_LAST_PREDICTION) return;
    while (bound < EDGE_BOUNDS && nanoseconds > edge_bounds[bound]) bound++;
    ngx_atomic_fetch_add(&counters->latency[route][bound], 1);
    ngx_atomic_fetch_add(&counters->nanoseconds[route], (ngx_atomic_int_t) nanoseconds);
}

static void edge_put_metrics(edge_buffer *out, ngx_shm_zone_t *zone) {
    const edge_counters *counters = zone->data;
    edge_puts(out, "# HELP marina_edge_info The policy that is compiled in\n# TYPE marina_edge_info gauge\n");
    edge_puts(out, "marina_edge_info{model=\"" EDGE_MODEL "\",version=\"" EDGE_VERSION "\"} 1\n");
    edge_puts(out, "# HELP marina_edge_requests_total Requests that got an answer\n# TYPE marina_edge_requests_total counter\n");
    for (int route = 0; route < EDGE_ROUTES; route++)
        for (int at = 0; at < EDGE_STATUSES; at++)
            if (counters->requests[route][at])
                edge_printf(out, "marina_edge_requests_total{model=\"%s\",route=\"%s\",status=\"%d\"} %lu\n", EDGE_MODEL,
                            edge_route_names[route], edge_statuses[at], (unsigned long) counters->requests[route][at]);
    edge_puts(out, "# HELP marina_edge_request_seconds Time from the headers of a request to its response, including its "
                   "body\n# TYPE marina_edge_request_seconds histogram\n");
    for (int route = 0; route <= EDGE_LAST_PREDICTION; route++) {
        unsigned long sum = 0;
        for (int bound = 0; bound <= EDGE_BOUNDS; bound++) {
            sum += (unsigned long) counters->latency[route][bound];
            edge_printf(out, "marina_edge_request_seconds_bucket{model=\"%s\",route=\"%s\",le=\"%s\"} %lu\n", EDGE_MODEL,
                        edge_route_names[route], bound < EDGE_BOUNDS ? edge_bound_names[bound] : "+Inf", sum);
        }
        edge_printf(out, "marina_edge_request_seconds_sum{model=\"%s\",route=\"%s\"} %.9f\n", EDGE_MODEL,
                    edge_route_names[route], (double) counters->nanoseconds[route] * 1e-9);
        edge_printf(out, "marina_edge_request_seconds_count{model=\"%s\",route=\"%s\"} %lu\n", EDGE_MODEL,
                    edge_route_names[route], sum);
    }
}

#endif
