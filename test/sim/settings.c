/* sim: webhooks are made, changed and deleted. What must hold: what was acknowledged is there, in every
 * partition once nothing is under way, no partition is ahead of the home of them, and all is whole by
 * what `kith check` asks.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "notify/notify_in.h"
#include "sim.h"

static struct bytes hook_name(unsigned hook) {
    static const char *const NAMES[HOOKS] = {"h0", "h1", "h2"};
    return bytes_str(NAMES[hook]);
}

static uint16_t home_of(unsigned app) {
    return partition_of_conversation(app_name(app), BYTES("#webhooks"), PARTITIONS);
}

/* ---- who changes them ---- */
void setting_step(struct sim *s) {
    char url[32];
    struct ticket t = {.kind = TICKET_SETTING,
        .app = (uint8_t)below(s, APPS),
        .other = (uint8_t)below(s, HOOKS),
        .on = chance(s, 80),
        .sent = ++s->setting_count};
    struct buf b = {0};
    snprintf(url, sizeof url, "https://%u.example/", t.sent);
    pack_bytes(&b, hook_name(t.other));
    if (t.on) {
        pack_u8(&b, 1 | 2); /* url and events */
        pack_bytes(&b, bytes_str(url));
        pack_u32(&b, t.app && !t.other && chance(s, 30) ? HOOK_MESSAGES : HOOK_CLICKS);
        pack_bytes(&b, BYTES("whsec_c2VjcmV0"));
    }
    (void)!node_append(
        s, home_of(t.app), t.on ? KIND_WEBHOOK_PUT : KIND_WEBHOOK_DELETE, t.app, buf_view(&b), &t);
    buf_done(&b);
}

void setting_answered(struct sim *s, const struct ticket *t, const struct answer *a) {
    if (t->kind != TICKET_SETTING) return;
    struct unpack u = unpack_of(buf_view(&a->body));
    if (a->problem) violated(s, "a webhook is refused: %s", a->detail);
    struct hook *h = &s->hooks[t->app][t->other];
    uint64_t version = unpack_u64(&u);
    if (u.bad) violated(s, "an answer of settings has no version");
    s->counts[COUNT_SETTINGS]++;
    if (version < h->version) return; /* answers may cross */
    *h = (struct hook){.version = version, .number = t->on ? t->sent : 0};
}

/* ---- what must hold ---- */
static struct bytes cell_in(struct sim *s, uint16_t partition, unsigned app, struct bytes id) {
    uint8_t room[300];
    const struct cell *c = cells_get(node_cells(s, partition), key2(room, '$', app_name(app), id));
    return bytes_of(c->data, c->size);
}

static uint64_t version_in(struct sim *s, uint16_t partition, unsigned app, struct bytes id) {
    struct unpack u = unpack_of(cell_in(s, partition, app, id));
    return unpack_more(&u) ? unpack_u64(&u) : 0;
}

static void hook_check(struct sim *s, unsigned app, unsigned hook, bool complete) {
    const struct hook *h = &s->hooks[app][hook];
    uint16_t home = home_of(app);
    struct bytes id = hook_name(hook), url, secrets;
    uint64_t version = version_in(s, home, app, id),
             newest = version_in(s, home, app, (struct bytes){0});
    char text[32];
    if (newest < h->version || (h->number && version && version < h->version))
        violated(s, "h%u was acknowledged as %llu and is %llu", hook,
            (unsigned long long)h->version, (unsigned long long)version);
    snprintf(text, sizeof text, "https://%u.example/", h->number);
    if (h->number && version == h->version &&
        (!webhook_find(node_cells(s, home), app_name(app), id, s->now_ms, &url, &secrets) ||
            !bytes_is(url, text)))
        violated(s, "h%u was acknowledged as %s and is another", hook, text);
    for (uint16_t p = 0; p < PARTITIONS; p++) {
        if (version_in(s, p, app, (struct bytes){0}) > newest)
            violated(s, "partition %u is ahead of the home of h%u", p, hook);
        if (complete && !bytes_eq(cell_in(s, p, app, id), cell_in(s, home, app, id)))
            violated(s, "partition %u does not have h%u as its home has it", p, hook);
    }
}

void check_settings(struct sim *s, bool complete) {
    struct buf why = {0};
    for (unsigned a = 0; a < APPS; a++)
        for (unsigned h = 0; h < HOOKS; h++) hook_check(s, a, h, complete);
    for (uint16_t p = 0; p < PARTITIONS; p++)
        if (!webhooks_sound(node_cells(s, p), &why))
            violated(s, "partition %u: %.*s", p, (int)why.n, (const char *)why.p);
    buf_done(&why);
}
