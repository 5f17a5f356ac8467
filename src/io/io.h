/* io: where the world comes in: disk, clock and randomness behind one structure (so that a
 * simulator can be the world), and the event loop with its sockets, plain and by TLS. Nothing here
 * knows what bytes mean. SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_IO_H
#define KITH_IO_H

#include "base/base.h"

/* ---- disk ---- */
/* Files are named by path; handles are small ints >= 0. All calls block. Errors: LIMIT = no space,
 * MISSING, IO. */
struct disk {
    enum err (*open)(struct disk *, const char *path, bool create, int *out_fd);
    enum err (*size)(struct disk *, int fd, uint64_t *out);
    enum err (*pread)(struct disk *, int fd, void *p, size_t n, uint64_t at, size_t *out_n);
    /* all or an error; a crash may tear it */
    enum err (*pwrite)(struct disk *, int fd, const void *p, size_t n, uint64_t at);
    /* writes zeros: later writes there need no allocation */
    enum err (*zero)(struct disk *, int fd, uint64_t from, uint64_t to);
    enum err (*sync)(struct disk *, int fd); /* fdatasync */
    enum err (*sync_dir)(struct disk *, const char *path);
    enum err (*rename)(struct disk *, const char *from, const char *to);
    enum err (*remove)(struct disk *, const char *path); /* OK when it was not there */
    /* Names in a directory, sorted; fn false stops */
    enum err (*list)(
        struct disk *, const char *dir, bool (*fn)(void *arg, const char *name), void *arg);
    enum err (*make_dir)(struct disk *, const char *path); /* 0700; OK when it is there */
    uint64_t (*free_bytes)(struct disk *, const char *dir);
    void (*close)(struct disk *, int fd);
};
struct disk *disk_real(void); /* one shared, stateless */

/* ---- clock and randomness ---- */
int64_t clock_wall_ms(void); /* since 1970 UTC */
int64_t clock_mono_ns(void);
struct ticker;                        /* measure/ticker.h */
int64_t ticker_set(struct ticker *t); /* looks at the real clock, and gives it; t: zeros at first */
void random_secret(void *p, size_t n); /* getrandom(2); ends the process if it fails */

/* ---- event loop: one a thread (epoll, edge of readiness is level) ---- */
struct loop;
enum { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_HANGUP = 4 };
struct loop_event {
    void *tag;
    uint32_t what;
};
struct loop *loop_create(void);
void loop_free(struct loop **);
enum err loop_add(struct loop *, int fd, uint32_t what, void *tag) must_use;
void loop_change(struct loop *, int fd, uint32_t what, void *tag);
void loop_remove(struct loop *, int fd);
/* Waits at most timeout_ms (-1: for ever) and fills up to max events. A wake by loop_wake is
 * swallowed (returns with what there is). */
size_t loop_wait(struct loop *, int timeout_ms, struct loop_event *out, size_t max);
void loop_wake(struct loop *); /* any thread; cheap when a wake is already pending */

/* ---- sockets (TCP, non-blocking, close-on-exec, TCP_NODELAY on accepted ones) ---- */
/* "127.0.0.1:1883" or "[::1]:0"; out_port is the port bound. Words in *why. SO_REUSEPORT is not
 * used. Backlog 4096. */
enum err sock_listen(
    const char *addr_port, int *out_fd, uint16_t *out_port, struct buf *why) must_use;
enum err sock_listen_unix(const char *path, int *out_fd, struct buf *why) must_use; /* 0600 */
/* Where a connection comes from: an IPv6 address, or an IPv4 one mapped into it (RFC 4291, 2.5.5.2);
 * all zeros: a local socket. */
struct address {
    uint8_t ip[16];
};
void address_text(struct address a, char out[static 46]);
/* AGAIN when none waits; LIMIT when out of descriptors. */
enum err sock_accept(int listen_fd, int *out_fd, struct address *peer) must_use;
/* Non-blocking connect begun; writable when done. `from` NULL or a local address to bind. */
enum err sock_connect(const char *addr_port, const char *from, int *out_fd) must_use;
/* OK with *out_n > 0; AGAIN; STALE: the peer closed; IO. */
enum err sock_read(int fd, void *p, size_t n, size_t *out_n) must_use;
enum err sock_write(int fd, const void *p, size_t n, size_t *out_n) must_use;
bool addr_is_loopback(const char *addr_port);

/* ---- TLS 1.2 and 1.3, the server's side. A context may be used by all threads, a connection by one
 * at a time ---- */
struct tls_context;
/* PEM files: the certificate with its chain, and its key. MISSING, MALFORMED: words in *why. */
enum err tls_context_create(const char *cert_file, const char *key_file, struct tls_context **out,
    struct buf *why) must_use;
/* Reads the files again. Connections that are there go on with what they have; when the files are
 * wrong, so do new ones. */
enum err tls_context_reload(struct tls_context *, struct buf *why) must_use;
void tls_context_free(struct tls_context **);
struct tls;
/* fd stays the caller's. alpn (a literal): the protocol that is spoken; a client that names others
 * only is refused (RFC 7301). NULL: no memory. */
struct tls *tls_open(struct tls_context *, int fd, const char *alpn);
/* OK: both sides are sure; AGAIN; MALFORMED: the peer speaks no TLS that we take; STALE, IO. */
enum err tls_handshake(struct tls *) must_use;
/* As sock_read and sock_write. What gave AGAIN is called again, a write with the same bytes at its
 * beginning, once the socket is ready: to be written if tls_wants_write, else to be read. */
enum err tls_read(struct tls *, void *p, size_t n, size_t *out_n) must_use;
enum err tls_write(struct tls *, const void *p, size_t n, size_t *out_n) must_use;
bool tls_wants_write(const struct tls *);
/* Tells the peer that nothing more is written (close_notify), if the socket takes it. */
void tls_finish(struct tls *);
/* Was the handshake short, by a ticket? Of which version: 12 or 13; 0: not known yet. */
bool tls_is_resumed(const struct tls *);
int tls_version(const struct tls *);
void tls_free(struct tls **);

/* ---- bounded single-producer single-consumer ring of pointers ---- */
struct ring;
struct ring *ring_create(size_t capacity); /* rounded up to a power of two */
void ring_free(struct ring **);
bool ring_put(struct ring *, void *p); /* false when full */
void *ring_take(struct ring *);        /* NULL when empty */
size_t ring_count(const struct ring *);

/* ---- the service manager, where there is one (sd_notify): "READY=1", "STOPPING=1" ---- */
int notify_open(void); /* -1: there is none; else a descriptor for notify_say */
void notify_say(int fd, const char *word);

/* ---- least privilege: what the process gives up for good before it serves strangers ----
 * Three steps, each once, in this order:
 *   confine_user    root becomes another user; it may still listen on ports below 1024
 *   confine_files   Landlock (Linux 5.19): only the folders named here are there any more. Holds for
 *                   the calling thread and those it starts, so call it before there are others
 *   confine_calls   seccomp: only the system calls that serving needs, for all threads. Call it when
 *                   all is open and listening: no socket is made after it
 * What is given up does not come back, and no program is executed after it. Words in *why. */
/* MISSING: there is no such user. REFUSED: the process is neither root nor that user. */
enum err confine_user(const char *name, struct buf *why) must_use;
/* Gives a new folder to the user, when root makes it for them. */
enum err confine_give(const char *path, const char *user, struct buf *why) must_use;

struct confine_path {
    const char
        *path;  /* a file, or a folder with all that is in it; what is not there is left out */
    bool write; /* read, write, make, rename, remove; else read */
};
/* MISSING: this kernel has none of it. */
enum err confine_files(const struct confine_path *paths, size_t n, struct buf *why) must_use;
/* connects: new sockets may still be made. MISSING as above. */
enum err confine_calls(bool connects, struct buf *why) must_use;

/* What is really so, found by trying: may a file outside be read, a socket be made? */
struct confine_proof {
    bool file_opens, socket_opens, no_new_privileges;
};
struct confine_proof confine_try(void);

#endif
