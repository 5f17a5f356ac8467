/* shard: the corridor. One thread a core, each with its event loop, its connections and its
 * partitions; a log thread; a tables thread. It carries what the rooms return: records to the log,
 * relays and jobs to other shards, answers to connections. It routes and never decides.
 *
 * Invariants: a connection, a partition's cells and a session belong to one shard; shards share
 * nothing that is written but bounded rings.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_SHARD_H
#define KITH_SHARD_H

#include "core/core.h"

/* Opens the data (making it when new), recovers, listens. Words in *why on failure; *out is set
 * then too, half open, and goes with the process. */
enum err server_open(const struct server_options *o, struct server **out, struct buf *why) must_use;
/* Runs until server_stop; drains; writes the tables; 0 when all is stored. */
int server_run(struct server *s);
void server_stop(struct server *s); /* async-signal-safe */
/* Any thread: reads the TLS certificate again, and writes a line about it. */
void server_reload(struct server *s);
void server_close(struct server **);
struct settings; /* doctor/doctor.h */
void server_settings(const struct server_options *o, struct settings *out);
uint16_t server_port(const struct server *s, enum door_name); /* 0: not served */
struct admit;
struct admit *server_admit(struct server *s);

/* Data folder without a server: lock, check, backup, restore. */
/* LIMIT: a server holds it */
enum err data_lock(const char *dir, int *out_fd, struct buf *why) must_use;
/* every checksum; positions against the log */
enum err data_check(const char *dir, struct buf *why) must_use;
/* without a server */
enum err data_backup(const char *dir, const char *to, struct buf *why) must_use;
/* the epoch changes */
enum err data_restore(const char *from, const char *dir, struct buf *why) must_use;
/* Of a running server: it makes a copy within DIR, the caller moves it to `to`. MISSING: none runs,
 * or does not take connections yet. */
enum err data_backup_take(const char *dir, const char *to, struct buf *why) must_use;
/* Makes the folder when it is absent, with its name synced; takes from others what they may read of
 * one that is there, and says so in *said. */
enum err data_folder(const char *dir, bool *out_new, struct buf *said, struct buf *why) must_use;
/* A line to a running server through DIR/control: "reload", "backup", "proof", "doctor". MISSING: none runs. Its
 * answer in *out. */
enum err control_ask(const char *dir, const char *line, struct buf *out) must_use;
/* The same, for at most some seconds: AGAIN, when it does not answer. *out_pid: who should. */
enum err control_ask_soon(
    const char *dir, const char *line, struct buf *out, long *out_pid) must_use;

#endif
