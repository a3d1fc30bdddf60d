/* Answers bodies from standard input with the code of the module, without nginx: for the comparison with the handler.

   In, native byte order: uint32 form, uint32 size, body. Out: uint32 status, uint32 size, body.
   `time BODY ROUNDS` prints the nanoseconds that one prediction takes instead. */
#include "policy.h"

#include <time.h>

typedef struct piece { struct piece *next; } piece;

static void *take(void *context, size_t size) {
    piece **pieces = context, *made = malloc(sizeof *made + size);
    if (made == NULL) return NULL;
    made->next = *pieces;
    *pieces = made;
    return made + 1;
}

static void release(piece **pieces) {
    while (*pieces) {
        piece *next = (*pieces)->next;
        free(*pieces);
        *pieces = next;
    }
}

static double now(void) {
    struct timespec moment;
    clock_gettime(CLOCK_MONOTONIC, &moment);
    return (double) moment.tv_sec + (double) moment.tv_nsec * 1e-9;
}

static int answer_all(void) {
    uint32_t head[2];
    while (fread(head, sizeof head, 1, stdin) == 1) {
        piece *pieces = NULL;
        edge_arena arena = {&pieces, take};
        /* Exactly as large as the body, so that AddressSanitizer detects a read beyond its end. */
        char *body = malloc(head[1] ? head[1] : 1);
        if (body == NULL || (head[1] && fread(body, head[1], 1, stdin) != 1)) return 1;
        edge_reply reply = edge_answer(&arena, body, head[1], (int) head[0], (edge_text){"id", 2});
        uint32_t head_out[2] = {(uint32_t) reply.status, (uint32_t) reply.size};
        fwrite(head_out, sizeof head_out, 1, stdout);
        fwrite(reply.body, 1, reply.size, stdout);
        free(body);
        release(&pieces);
    }
    return 0;
}

static int time_one(const char *body, int rounds) {
    double started = now();
    for (int round = 0; round < rounds; round++) {
        piece *pieces = NULL;
        edge_arena arena = {&pieces, take};
        if (edge_answer(&arena, body, strlen(body), EDGE_ANY, (edge_text){"id", 2}).status != 200) return 1;
        release(&pieces);
    }
    printf("%.0f\n", (now() - started) / rounds * 1e9);
    return 0;
}

int main(int count, char **arguments) {
    return count == 4 && strcmp(arguments[1], "time") == 0 ? time_one(arguments[2], atoi(arguments[3])) : answer_all();
}
