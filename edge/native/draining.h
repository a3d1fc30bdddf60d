/* The shutdown of a worker at a reload.

   A worker that nginx orders to quit closes its idle keep-alive connections at once, and loses a request that is under way
   on one of them. So this module delays the order to quit: meanwhile each response says `Connection: close`, clients
   connect to the new workers, and a connection that is still idle at the end has been silent for as long. */
#ifndef EDGE_DRAINING_H
#define EDGE_DRAINING_H

enum { EDGE_DRAIN_MS = 2000 };

static int edge_draining;
static ngx_msec_t edge_drained_at;
static ngx_int_t (*edge_process_events)(ngx_cycle_t *cycle, ngx_msec_t timer, ngx_uint_t flags);

static void edge_wake(ngx_event_t *event) { (void) event; }
static ngx_event_t edge_timer;
static ngx_connection_t edge_no_connection = {.fd = (ngx_socket_t) -1};

static ngx_int_t edge_process_and_drain(ngx_cycle_t *cycle, ngx_msec_t timer, ngx_uint_t flags) {
    ngx_int_t result = edge_process_events(cycle, timer, flags);
    if (ngx_quit && !edge_draining) {
        edge_draining = 1;
        edge_drained_at = ngx_current_msec + EDGE_DRAIN_MS;
        ngx_close_listening_sockets(cycle);
        ngx_add_timer(&edge_timer, EDGE_DRAIN_MS);
        ngx_quit = 0;
    } else if (ngx_quit && !ngx_exiting) {
        ngx_quit = 0;
    }
    if (edge_draining && !ngx_exiting && (ngx_msec_int_t) (ngx_current_msec - edge_drained_at) >= 0) ngx_quit = 1;
    return result;
}

static ngx_int_t edge_delay_quit(ngx_cycle_t *cycle) {
    edge_timer.handler = edge_wake;
    edge_timer.data = &edge_no_connection;
    edge_timer.log = cycle->log;
    edge_process_events = ngx_event_actions.process_events;
    ngx_event_actions.process_events = edge_process_and_drain;
    return NGX_OK;
}

#endif
