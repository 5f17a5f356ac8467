/* drive: HTTP requests beside devices, on the fleet's loop: one under way on each of a few kept
 * connections, the others wait in their order. What is refused is told, never tried again: a
 * load generator counts it. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "drive/drive.h"

struct post {
    struct post *next;
    uint64_t tag;
    struct buf text; /* head and body */
};
struct line {
    struct posts *of;
    int fd;
    bool writing;
    struct post *post; /* under way */
    size_t out_at;
    struct buf in;
};
struct posts {
    struct fleet *fleet;
    const char *address, *key;
    posts_answered *answered;
    void *arg;
    size_t count;
    struct line *lines;
    struct post *first, **last, *spare; /* waiting; to be used again */
};

static void post_spare(struct posts *p, struct post *done) {
    buf_reset(&done->text);
    done->next = p->spare;
    p->spare = done;
}

static void line_close(struct line *l) {
    loop_remove(l->of->fleet->loop, l->fd);
    close(l->fd);
    l->fd = -1;
    l->writing = false;
    buf_reset(&l->in);
}

/* Of a connection that failed: nobody knows whether it was done. */
static void line_lost(struct line *l) {
    struct post *post = l->post;
    line_close(l);
    l->post = NULL;
    if (!post) return; /* the server ended an idle one */
    l->of->answered(l->of->arg, post->tag, 0, (struct bytes){0});
    post_spare(l->of, post);
}

static void line_write(struct line *l) {
    while (l->post && l->out_at < l->post->text.n) {
        size_t n;
        enum err e =
            sock_write(l->fd, l->post->text.p + l->out_at, l->post->text.n - l->out_at, &n);
        if (e == AGAIN) break;
        if (e != OK) return line_lost(l);
        l->out_at += n;
    }
    bool left = l->post && l->out_at < l->post->text.n;
    if (left != l->writing)
        loop_change(l->of->fleet->loop, l->fd, LOOP_READ | (left ? LOOP_WRITE : 0u), l);
    l->writing = left;
}

static void line_next(struct line *l) {
    struct posts *p = l->of;
    struct post *post = p->first;
    if (l->post || !post) return;
    p->first = post->next;
    if (!p->first) p->last = &p->first;
    l->post = post;
    l->out_at = 0;
    if (l->fd >= 0) return line_write(l);
    if (sock_connect(p->address, NULL, &l->fd) != OK) {
        l->fd = -1;
        l->post = NULL;
        p->answered(p->arg, post->tag, 0, (struct bytes){0});
        return post_spare(p, post);
    }
    check(loop_add(p->fleet->loop, l->fd, LOOP_READ | LOOP_WRITE, l) == OK);
    l->writing = true; /* once it is connected */
}

static void line_read(struct line *l) {
    static uint8_t chunk[64 * 1024];
    size_t got, used;
    int status;
    struct bytes body;
    enum err e = sock_read(l->fd, chunk, sizeof chunk, &got);
    if (e == AGAIN) return;
    if (e != OK) return line_lost(l);
    buf_add(&l->in, chunk, got);
    e = http_read_response(buf_view(&l->in), &status, &body, &used);
    if (e == AGAIN) return;
    if (e != OK || !l->post) return line_lost(l);
    struct post *post = l->post;
    l->post = NULL;
    l->of->answered(l->of->arg, post->tag, status, body);
    post_spare(l->of, post);
    buf_cut(&l->in, used);
    line_next(l);
}

static void line_event(void *tag, uint32_t what) {
    struct line *l = tag;
    if (l->fd >= 0 && (what & LOOP_WRITE)) line_write(l);
    if (l->fd >= 0 && (what & (LOOP_READ | LOOP_HANGUP))) line_read(l);
}

struct posts *posts_create(struct fleet *f, const char *address, const char *key,
    size_t connections, posts_answered *answered, void *arg) {
    struct posts *p = must_alloc(sizeof *p);
    *p = (struct posts){.fleet = f,
        .address = address,
        .key = key,
        .answered = answered,
        .arg = arg,
        .count = connections,
        .lines = must_alloc(connections * sizeof *p->lines)};
    p->last = &p->first;
    for (size_t i = 0; i < connections; i++) p->lines[i] = (struct line){.of = p, .fd = -1};
    f->other = line_event;
    return p;
}

void posts_send(struct posts *p, const char *method_path, struct bytes body, uint64_t tag) {
    struct post *post = p->spare ? p->spare : must_alloc(sizeof *post);
    p->spare = p->spare ? p->spare->next : NULL;
    post->next = NULL;
    post->tag = tag;
    buf_fmt(&post->text,
        "%s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: "
        "application/json\r\nContent-Length: %zu\r\n\r\n",
        method_path, p->key ? p->key : "", body.n);
    buf_bytes(&post->text, body);
    *p->last = post;
    p->last = &post->next;
    for (size_t i = 0; i < p->count && p->first; i++) line_next(&p->lines[i]);
}

static void list_free(struct post *post) {
    while (post) {
        struct post *next = post->next;
        buf_done(&post->text);
        free(post);
        post = next;
    }
}

void posts_free(struct posts **pp) {
    struct posts *p = *pp;
    if (!p) return;
    for (size_t i = 0; i < p->count; i++) {
        if (p->lines[i].fd >= 0) line_close(&p->lines[i]);
        list_free(p->lines[i].post);
        buf_done(&p->lines[i].in);
    }
    list_free(p->first);
    list_free(p->spare);
    p->fleet->other = NULL;
    free(p->lines);
    free(p);
    *pp = NULL;
}
