/* io: a disk in memory that fails as disks fail, for tests and the simulator. Deterministic: all
 * chance comes from the rng given.
 *
 * A file has what was written and what would survive. Each 512-byte sector written since the last
 * sync is kept, dropped or torn by a crash, each on its own; names made, renamed and removed since
 * the last sync of their directory survive up to a point in time, as with a journal of names. Calls
 * are the `struct disk` of io.h, for one thread. Lifetime: borrowed by who opens files on it; all
 * handles die with a crash.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_DISK_TWIN_H
#define KITH_DISK_TWIN_H

#include "io/io.h"

/* How often each fault was reached: a simulation that never meets one has not tested it. */
struct disk_twin_counts {
    uint64_t writes, syncs, crashes;
    uint64_t syncs_failed, syncs_lost, writes_failed, full, deaths;
    uint64_t sectors_kept, sectors_dropped, sectors_torn, names_undone;
};

struct disk *disk_twin_create(struct rng *rng); /* the rng is borrowed */
void disk_twin_free(struct disk **d);
const struct disk_twin_counts *disk_twin_counts(const struct disk *d);

/* The power goes and comes back: what was not synced is decided, handles are gone, the faults below
 * are switched off (not the capacity). */
void disk_twin_crash(struct disk *d);
/* After n more calls that change something, nothing changes any more: each such call gives IO, the
 * one at the edge may be half done, until the crash. */
void disk_twin_die_after(struct disk *d, uint64_t calls);
/* The next sync of a file gives IO; as with a real kernel what it did not write is then thought
 * clean, so that trying again lies. */
void disk_twin_fail_sync(struct disk *d);
/* The next write gives IO; any part of it may have been written. */
void disk_twin_fail_write(struct disk *d);
/* While on, syncs of files give OK and do nothing: a planted bug that a simulation has to find. */
void disk_twin_lose_syncs(struct disk *d, bool on);
/* Bytes that all files together may take; what goes beyond gives LIMIT. */
void disk_twin_capacity(struct disk *d, uint64_t bytes);
/* Damages one byte, in what is read now and in what survives. False when there is no such byte. */
bool disk_twin_damage(struct disk *d, const char *path, uint64_t at, uint8_t xor_with);

#endif
