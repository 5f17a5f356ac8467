/* drive, inside: what a device that speaks Socket.IO (socketio.c) asks of the fleet (fleet.c).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_DRIVE_IN_H
#define KITH_DRIVE_IN_H

#include "drive/drive.h"

void device_ready(struct device *d, bool session_present);
void device_refused(struct device *d, uint8_t reason, struct bytes words);
void device_dirty(struct device *d); /* its output is written at the next flush */

/* The request for an upgrade; all else follows from what comes. */
void socketio_ask(struct device *d);
/* Takes whole frames from *at on and moves it. AGAIN: needs more; MALFORMED: no upgrade, or the end. */
enum err socketio_take(struct device *d, struct bytes in, size_t *at) must_use;

#endif
