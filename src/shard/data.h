/* shard: the data folder: its lock, its meta file, copies of it. Inside the room.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_SHARD_DATA_H
#define KITH_SHARD_DATA_H

#include "shard/shard.h"

#define DATA_VERSION 2u /* 2: sessions with plain channels; 1 is read, and becomes 2 when served */
struct meta {           /* DIR/meta, text: "kith-data 2", "partitions N", "epoch N" */
    uint16_t partitions;
    uint64_t epoch;
    unsigned version; /* as loaded; meta_save writes DATA_VERSION */
};
/* DIR/log becomes a link to log_dir when the data is new; else it must be one already. */
enum err log_link(const char *dir, const char *log_dir, struct buf *why) must_use;
/* MISSING: no data there yet */
enum err meta_load(const char *dir, struct meta *m, struct buf *why) must_use;
bool data_is_there(const char *dir); /* log or tables, which come after the meta file */
enum err meta_save(const char *dir, const struct meta *m, struct buf *why) must_use;
/* the folder above it: a new name may be only in memory */
enum err folder_name_sync(const char *dir) must_use;
uint64_t epoch_new(void);
/* DIR/reserve: room kept for the tables to open on a full disk. keep: it is there, or was made;
 * false: the disk is full. */
bool reserve_keep(const char *dir);
bool reserve_drop(const char *dir); /* false: there was none */
/* A copy from which the state at this moment, or a later one, can be restored. Not on a shard's
 * thread. */
#define BACKUP_NAME "backup.tmp" /* where it is made: a confined server writes nowhere else */
enum err data_backup_live(struct server *s, const char *to, struct buf *why) must_use;
void backup_forget(const char *dir); /* what a command that was cut short left there */

#endif
