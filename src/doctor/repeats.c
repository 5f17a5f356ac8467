/* doctor: repeats: who sent again what was stored, and how often.
 * Keeps: a shard tells of a second in which a user did it 20 times, then 40, 80 ...: of these the last is
 * counted. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "doctor/doctor_in.h"

static bool same_user(const struct event *a, const struct event *b) {
    return strcmp(a->names[0], b->names[0]) == 0 && strcmp(a->names[1], b->names[1]) == 0;
}
static bool same_second(const struct event *a, const struct event *b) {
    return a->thread == b->thread && a->start_ns == b->start_ns;
}

/* Whoever comes when there is no place takes that of who did it least. */
static struct repeater *repeater_of(struct repeats *r, const struct event *e) {
    struct repeater *least = r->of;
    for (size_t i = 0; i < r->count; i++) {
        if (same_user(r->of[i].last, e)) return &r->of[i];
        if (r->of[i].times < least->times) least = &r->of[i];
    }
    if (r->count == REPEATERS_TOLD) {
        *least = (struct repeater){.last = e};
        return least;
    }
    r->of[r->count].last = e;
    return &r->of[r->count++];
}

void repeats_count(const struct history *h, struct repeats *out) {
    *out = (struct repeats){0};
    for (size_t i = 0; i < h->count; i++) {
        const struct event *e = &h->events[i];
        if (e->kind != EVENT_retries) continue;
        struct repeater *r = repeater_of(out, e);
        bool more = r->seconds && same_second(r->last, e);
        uint64_t a = e->a > 0 ? (uint64_t)e->a : 0, had = more ? r->in_last : 0;
        r->seconds += !more;
        r->last = e;
        r->in_last = a > had ? a : had;
        r->times += r->in_last - had;
        out->times += r->in_last - had;
        if (a > r->most) r->most = a;
    }
    for (size_t i = 0; i < out->count; i++)
        if (!out->worst || out->of[i].times > out->worst->times) out->worst = &out->of[i];
}

/* Once is who comes back and sends what was not acknowledged. */
static bool is_loop(const struct repeats *r) {
    enum { SECONDS = 5, MANY = 1000 };
    if (r->times > MANY) return true;
    for (size_t i = 0; i < r->count; i++)
        if (r->of[i].seconds >= SECONDS) return true;
    return false;
}

static void worst_words(const struct repeater *w, bool named, struct buf *b) {
    buf_fmt(b, "; %llu of them ", (unsigned long long)w->times);
    if (named) buf_fmt(b, "the user %s of the app %s", w->last->names[1], w->last->names[0]);
    else buf_str(b, "one user of another app");
    if (w->seconds > 1)
        buf_fmt(b, ", in %u seconds, up to %llu in one", w->seconds, (unsigned long long)w->most);
    else buf_str(b, ", in one second");
}

void repeats_check(const struct history *h, const char *app, struct checks *c) {
    struct repeats r;
    repeats_count(h, &r);
    struct check *k = check_say(c, "retries", is_loop(&r) ? CHECK_WARNING : CHECK_OK,
        cause_help(CAUSE_client_retries), "times that clients sent again what was stored: %s%llu",
        r.times ? "at least " : "", (unsigned long long)r.times);
    struct json_out o = {&k->evidence, false};
    jo_open_obj(&o);
    jo_key(&o, "events");
    jo_u64(&o, r.times);
    if (r.worst) {
        const struct event *e = r.worst->last;
        bool named = e->names[1][0] && (!app || strcmp(app, e->names[0]) == 0);
        worst_words(r.worst, named, &k->words);
        jo_key(&o, "worst_at");
        jo_time(&o, e->start_ns / 1000000 + h->wall_minus_mono_ms);
        if (named) {
            jo_key(&o, "app");
            jo_str(&o, bytes_str(e->names[0]));
            jo_key(&o, "user");
            jo_str(&o, bytes_str(e->names[1]));
        }
    }
    jo_close_obj(&o);
}
