/* content: what a trigger says, and its totals, once in each partition that it reached.
 *
 *   '&' app n         triggers whose ids were made here, in the order in which they came, LIST_BLOCK to a key: i64
 *                     newest time before the block, repeated varbytes(as below);  '&' app   u64 ever
 *                     kept, u64 first block, i64 newest time
 *   '&' app trigger   others: u8 flags, totals, then the content (content_encode). Totals: of one recipient
 *                     u32 of bits, a bit for each; of many u32 each
 *                     and behind it the packed ids of those here whom it names
 *                     forget.c knows when they go
 *
 * Keeps: a total never falls, but TOTAL_HELD and TOTAL_DELIVERED (what is withdrawn).
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "content/content.h"
#include "mailbox/mailbox.h"

enum { FLAG_CANCELLED = 1, FLAG_MANY = 2, FLAG_SHARED = 4, FLAG_ADDRESSES = 8 };
enum {
    LIST_BLOCK = 32,
    LIST_LOOK_MAX = 4096,
    LIST_TRIM = 2,
    LATE_MS = 30000 /* no record is so late */
};
/* flags and bits, flags and numbers; without FLAG_ADDRESSES one number less: stores of before */
enum { HEAD_ONE = 1 + 4, HEAD_MANY = 1 + 4 * TOTAL_COUNT, HEAD_BEFORE = HEAD_MANY - 4 };
static uint32_t head_of(uint8_t flags) {
    if (!(flags & FLAG_MANY)) return HEAD_ONE;
    return flags & FLAG_ADDRESSES ? HEAD_MANY : HEAD_BEFORE;
}

void content_encode(struct buf *b, const struct content *c) {
    pack_bytes(b, c->id);
    pack_bytes(b, c->workflow);
    pack_bytes(b, c->actor);
    pack_bytes(b, c->actor_name);
    pack_bytes(b, c->object);
    pack_bytes(b, c->data);
    pack_bytes(b, c->args);
    pack_bytes(b, c->collapse_key);
    pack_bytes(b, c->audience);
    pack_var(b, (uint64_t)c->created_ms);
    pack_var(b, (uint64_t)c->send_at_ms);
    pack_var(b, (uint64_t)c->expires_ms);
}

enum err content_decode(struct unpack *u, struct content *out) {
    const uint8_t *from = u->p;
    out->id = unpack_bytes(u);
    out->workflow = unpack_bytes(u);
    out->actor = unpack_bytes(u);
    out->actor_name = unpack_bytes(u);
    out->object = unpack_bytes(u);
    out->data = unpack_bytes(u);
    out->args = unpack_bytes(u);
    out->collapse_key = unpack_bytes(u);
    out->audience = unpack_bytes(u);
    out->created_ms = (int64_t)unpack_var(u);
    out->send_at_ms = (int64_t)unpack_var(u);
    out->expires_ms = (int64_t)unpack_var(u);
    out->raw = bytes_of(from, (size_t)(u->p - from));
    out->cancelled = false;
    out->lies = 0;
    return u->bad ? MALFORMED : OK;
}

static struct bytes view_of(const struct cell *c) { return bytes_of(c->data, c->size); }

/* ---- where a content lies ---- */
struct place { /* cell NULL: nowhere */
    struct cell *cell;
    uint32_t at, size;
    uint64_t lies; /* struct content */
};

static struct cell *content_cell(struct cells *c, struct bytes app, struct bytes id) {
    uint8_t room[300];
    return cells_get(c, key2(room, '&', app, id));
}
static struct cell *block_cell(struct cells *c, struct bytes app, uint64_t n) {
    uint8_t room[300];
    return cells_get(c, key2n(room, '&', app, (struct bytes){0}, n));
}

bool trigger_is_direct(struct bytes id) {
    return (message_id_seq(id) >> TRIGGER_ID_SHIFT & TRIGGER_DIRECT) != 0;
}

static bool made_here(struct bytes id) {
    return (message_id_seq(id) >> TRIGGER_ID_SHIFT & TRIGGER_MADE) != 0;
}

struct list { /* stored as it is */
    uint64_t count, first_block;
    int64_t newest_ms;
};
static struct list list_get(struct cells *c, struct bytes app, struct cell **out) {
    struct list l = {0};
    *out = content_cell(c, app, (struct bytes){0});
    if ((*out)->size) memcpy(&l, (*out)->data, sizeof l);
    return l;
}

void content_ahead(struct cells *c, struct bytes app, unsigned round) {
    uint8_t room[300];
    struct list l;
    struct bytes key = key2(room, '&', app, (struct bytes){0});
    if (!round) {
        cells_ahead(c, key);
        return;
    }
    const struct cell *head = cells_near(c, key);
    if (!head || head->size != sizeof l) return;
    memcpy(&l, head->data, sizeof l);
    cells_ahead(c, key2n(room, '&', app, (struct bytes){0}, l.count / LIST_BLOCK));
}

/* Of each only the id is looked at, which stands behind the flags and the bits; ids end in what makes
 * them different. */
static bool block_look(
    struct cells *c, struct bytes app, uint64_t block, struct bytes id, struct place *out) {
    struct cell *cell = block_cell(c, app, block);
    enum { LEAST = HEAD_ONE + 2 };
    struct unpack u = unpack_of(view_of(cell));
    if (cell->size) u.p += sizeof(int64_t);
    while (u.p < u.end) {
        size_t n = unpack_var(&u);
        const uint8_t *one = u.p;
        check(!u.bad && n <= (size_t)(u.end - u.p));
        u.p += n;
        if (n < LEAST + id.n) continue;
        const uint8_t *its = one + head_of(*one);
        if (n < (size_t)(its - one) + 1 + id.n || *its++ != id.n) continue;
        if (its[id.n - 1] != id.p[id.n - 1] || memcmp(its, id.p, id.n) != 0) continue;
        *out = (struct place){cell, (uint32_t)(one - cell->data), (uint32_t)n, block + 1};
        return true;
    }
    return false;
}

static int64_t before_of(struct cells *c, struct bytes app, uint64_t block) {
    const struct cell *cell = block_cell(c, app, block);
    int64_t ms = 0;
    if (cell->size) memcpy(&ms, cell->data, sizeof ms);
    return ms;
}

/* They come in the order of their times, but for what two threads made at once: the newest time before
 * each block only rises. The newest block is looked at first: most are asked for when they come. */
static bool list_look(struct cells *c, struct bytes app, struct bytes id, struct place *out) {
    struct cell *head;
    struct list l = list_get(c, app, &head);
    int64_t ms = message_id_ms(id);
    if (!l.count) return false;
    uint64_t last = (l.count - 1) / LIST_BLOCK, low = l.first_block, high = last;
    if (block_look(c, app, last, id, out)) return true;
    while (low < high) { /* the first block whose successor begins behind that time */
        uint64_t mid = low + (high - low) / 2;
        if (before_of(c, app, mid + 1) >= ms) high = mid;
        else low = mid + 1;
    }
    for (uint64_t n = low; n <= last && n < low + LIST_LOOK_MAX; n++)
        if (n > low && before_of(c, app, n) > ms + LATE_MS) return false;
        else if (block_look(c, app, n, id, out)) return true;
    return false;
}

static struct place find(struct cells *c, struct bytes app, struct bytes id) {
    struct place p = {0};
    if (made_here(id) && list_look(c, app, id, &p)) return p;
    if (trigger_is_direct(id)) return p;
    struct cell *cell = content_cell(c, app, id);
    if (cell->size) p = (struct place){cell, 0, cell->size, 0};
    return p;
}

/* In a step the same one is asked for again and again. What grows behind it leaves it in its place. */
struct found {
    struct bytes id;
    struct place place;
};
static void found_note(struct step *s, struct bytes id, struct place p) {
    if (!s->scratch) s->scratch = arena_zero(s->arena, sizeof(struct found));
    *(struct found *)s->scratch = (struct found){id, p};
}
static struct place find_in(struct step *s, struct bytes id) {
    const struct found *f = s->scratch;
    if (f && f->place.cell && f->id.p == id.p && f->id.n == id.n) return f->place;
    struct place p = find(s->cells, s->app, id);
    found_note(s, id, p);
    return p;
}
static void found_forget(struct step *s) {
    if (s->scratch) *(struct found *)s->scratch = (struct found){0};
}

static const uint8_t *data_of(const struct place *p) { return p->cell->data + p->at; }
static struct bytes content_of(const struct place *p) {
    size_t head = head_of(*data_of(p));
    return bytes_of(data_of(p) + head, p->size - head);
}

/* ---- keeping ---- */
/* A new block begins: old ones whose successor began long ago go. */
static struct cell *list_begin(struct step *s, struct list *l) {
    uint8_t room[300];
    uint64_t n = l->count / LIST_BLOCK;
    for (int i = 0; i < LIST_TRIM && mailbox_retention_ms && l->first_block + 1 < n; i++) {
        if (before_of(s->cells, s->app, l->first_block + 1) >= s->time_ms - mailbox_retention_ms)
            break;
        cells_put(s->cells, block_cell(s->cells, s->app, l->first_block++), (struct bytes){0});
    }
    struct cell *cell = cells_new(s->cells, key2n(room, '&', s->app, (struct bytes){0}, n));
    cells_put(s->cells, cell, bytes_of(&l->newest_ms, sizeof l->newest_ms));
    return cell;
}

static struct place list_add(struct step *s, struct bytes one) {
    struct cell *head, *cell;
    struct list l = list_get(s->cells, s->app, &head);
    struct buf b = {0};
    if (l.count % LIST_BLOCK == 0) cell = list_begin(s, &l);
    else cell = block_cell(s->cells, s->app, l.count / LIST_BLOCK);
    buf_reserve(&b, one.n + 8);
    pack_bytes(&b, one);
    cells_append(s->cells, cell, buf_view(&b));
    buf_done(&b);
    l.count++;
    if (s->time_ms > l.newest_ms) l.newest_ms = s->time_ms;
    if (head->size) memcpy(cells_edit(s->cells, head), &l, sizeof l);
    else cells_put(s->cells, head, bytes_of(&l, sizeof l));
    return (struct place){
        cell, cell->size - (uint32_t)one.n, (uint32_t)one.n, (l.count - 1) / LIST_BLOCK + 1};
}

bool content_keep(struct step *s, const struct content *k, struct bytes users, enum keep keep) {
    bool direct = trigger_is_direct(k->id);
    /* The outside world, and the partition of an id, bring each once. What comes from this partition may
     * have been put off, and be there already. */
    bool fresh = s->relay ? s->source != s->partition : direct;
    if (!fresh && find(s->cells, s->app, k->id).cell) return false;
    bool many = keep != KEEP_ONE;
    uint8_t head[HEAD_MANY] = {(uint8_t)((many ? FLAG_MANY | FLAG_ADDRESSES : 0) |
                                         (keep == KEEP_SHARED ? FLAG_SHARED : 0))};
    struct buf b = {0};
    buf_reserve(&b, HEAD_MANY + 128 + k->data.n + k->args.n + users.n);
    buf_add(&b, head, many ? HEAD_MANY : HEAD_ONE);
    if (k->raw.n) buf_bytes(&b, k->raw);
    else content_encode(&b, k);
    buf_bytes(&b, users);
    /* of the time that its id says: what waited for send_at is not, and is kept by itself */
    if (direct || (made_here(k->id) && message_id_ms(k->id) == s->time_ms)) {
        found_note(s, k->id, list_add(s, buf_view(&b)));
    } else {
        uint8_t room[300];
        struct bytes key = key2(room, '&', s->app, k->id);
        cells_put(
            s->cells, fresh ? cells_new(s->cells, key) : cells_get(s->cells, key), buf_view(&b));
        forget_later(s, FORGET_CONTENT, k->id);
    }
    buf_done(&b);
    return true;
}

void content_blank(struct step *s, struct bytes id) {
    struct content k;
    struct place p = find(s->cells, s->app, id);
    if (!p.cell || *data_of(&p) & FLAG_MANY) return;
    struct unpack u = unpack_of(content_of(&p));
    check(content_decode(&u, &k) == OK);
    struct content left = {.id = k.id, .workflow = k.workflow, .created_ms = k.created_ms};
    struct buf b = {0}, one = {0};
    buf_add(&b, data_of(&p), HEAD_ONE);
    content_encode(&b, &left);
    uint32_t prefix = 0;
    if (p.at) { /* of a block: its size stands before it */
        pack_bytes(&one, bytes_of(data_of(&p), p.size));
        prefix = (uint32_t)(one.n - p.size);
        buf_reset(&one);
        pack_bytes(&one, buf_view(&b));
    } else {
        buf_bytes(&one, buf_view(&b));
    }
    cells_splice(s->cells, p.cell, p.at - prefix, p.size + prefix, buf_view(&one));
    found_forget(s);
    buf_done(&b);
    buf_done(&one);
}

/* ---- reading ---- */
static bool content_read(const struct place *p, struct content *out) {
    if (!p->cell) return false;
    struct unpack u = unpack_of(content_of(p));
    check(content_decode(&u, out) == OK);
    out->cancelled = *data_of(p) & FLAG_CANCELLED;
    out->lies = p->lies;
    return true;
}

bool content_find(struct cells *c, struct bytes app, struct bytes id, struct content *out) {
    struct place p = find(c, app, id);
    return content_read(&p, out);
}

bool content_find_at(
    struct cells *c, struct bytes app, struct bytes id, uint64_t lies, struct content *out) {
    struct place p = {0};
    if (!lies || !block_look(c, app, lies - 1, id, &p)) p = find(c, app, id);
    return content_read(&p, out);
}

uint64_t content_lies(struct step *s, struct bytes id) { return find_in(s, id).lies; }

bool content_copy(struct step *s, struct bytes id, struct content *out) {
    if (!content_find(s->cells, s->app, id, out)) return false;
    bool cancelled = out->cancelled;
    uint64_t lies = out->lies;
    struct unpack u = unpack_of(arena_copy(s->arena, out->raw));
    check(content_decode(&u, out) == OK);
    out->cancelled = cancelled;
    out->lies = lies;
    return true;
}

struct bytes content_users(struct cells *c, struct bytes app, struct bytes id) {
    struct place p = find(c, app, id);
    struct content k;
    if (!p.cell) return (struct bytes){0};
    struct unpack u = unpack_of(content_of(&p));
    check(content_decode(&u, &k) == OK);
    return bytes_of(u.p, (size_t)(u.end - u.p));
}

/* ---- totals ---- */
/* Of one recipient: a bit says yes or no, but for how often something of it is held just now, which rises
 * and falls. */
enum { HELD_SHIFT = 24, HELD_MOST = 255 };
_Static_assert((int)TOTAL_COUNT <= (int)HELD_SHIFT, "each total has its bit");
static uint32_t bits_total(uint32_t bits, enum total t) {
    return t == TOTAL_HELD ? bits >> HELD_SHIFT : bits >> t & 1;
}
static uint32_t bits_set(uint32_t bits, enum total t, uint32_t v) {
    if (t == TOTAL_HELD) return (bits & ((1u << HELD_SHIFT) - 1)) | v << HELD_SHIFT;
    return (bits & ~(1u << t)) | v << t;
}

uint32_t content_total(struct cells *c, struct bytes app, struct bytes id, enum total t) {
    struct place p = find(c, app, id);
    uint32_t v = 0;
    if (!p.cell) return 0;
    bool many = *data_of(&p) & FLAG_MANY;
    if (many && 1 + 4 * (size_t)t >= head_of(*data_of(&p))) return 0;
    memcpy(&v, data_of(&p) + 1 + (many ? 4 * (size_t)t : 0), sizeof v);
    return many ? v : bits_total(v, t);
}

/* Bits become numbers. */
static void widen(struct step *s, struct place *p) {
    uint32_t bits;
    uint8_t head[HEAD_MANY] = {*data_of(p) | FLAG_MANY | FLAG_ADDRESSES};
    memcpy(&bits, data_of(p) + 1, sizeof bits);
    for (unsigned t = 0; t < TOTAL_COUNT; t++)
        head[1 + 4 * t] = (uint8_t)bits_total(bits, (enum total)t);
    cells_splice(s->cells, p->cell, 0, HEAD_ONE, bytes_of(head, sizeof head));
    found_forget(s);
}

void content_count(struct step *s, struct bytes id, enum total t, int64_t by) {
    static const uint8_t TALLIES[TOTAL_COUNT] = {[TOTAL_RECIPIENTS] = CONTENT_TALLY_recipients,
        [TOTAL_DELIVERED] = CONTENT_TALLY_delivered,
        [TOTAL_SEEN] = CONTENT_TALLY_seen,
        [TOTAL_READ] = CONTENT_TALLY_read,
        [TOTAL_CLICKED] = CONTENT_TALLY_clicked,
        [TOTAL_ARCHIVED] = CONTENT_TALLY_archived,
        [TOTAL_PUSHED] = CONTENT_TALLY_pushed,
        [TOTAL_MAILED] = CONTENT_TALLY_mailed,
        [TOTAL_HOOKED] = CONTENT_TALLY_hooked,
        [TOTAL_FAILED] = CONTENT_TALLY_failed,
        [TOTAL_HELD] = CONTENT_TALLY_held,
        [TOTAL_BLOCKED] = CONTENT_TALLY_blocked,
        [TOTAL_MUTED] = CONTENT_TALLY_muted,
        [TOTAL_OPTED_OUT] = CONTENT_TALLY_opted_out,
        [TOTAL_CAPPED] = CONTENT_TALLY_capped,
        [TOTAL_EXPIRED] = CONTENT_TALLY_expired,
        [TOTAL_CANCELLED] = CONTENT_TALLY_cancelled,
        [TOTAL_COLLAPSED] = CONTENT_TALLY_collapsed,
        [TOTAL_GROUPED] = CONTENT_TALLY_grouped,
        [TOTAL_DIGESTED] = CONTENT_TALLY_digested,
        [TOTAL_UNLIKELY] = CONTENT_TALLY_unlikely};
    if (by > 0 && t != TOTAL_NO_ADDRESS) step_tally(s, TALLIES[t], (uint64_t)by);
    struct place p = find_in(s, id);
    uint32_t v;
    if (!p.cell || !by) return;
    if (!(*data_of(&p) & FLAG_MANY)) {
        memcpy(&v, data_of(&p) + 1, sizeof v);
        int64_t now = bits_total(v, t) + by, most = t == TOTAL_HELD ? HELD_MOST : 1;
        if (p.at || (now >= 0 && now <= most)) { /* in a block: as far as bits go */
            v = bits_set(v, t, now < 0 ? 0 : now > most ? (uint32_t)most : (uint32_t)now);
            memcpy(cells_edit(s->cells, p.cell) + p.at + 1, &v, sizeof v);
            return;
        }
        widen(s, &p);
    }
    if (1 + 4 * (size_t)t >= head_of(*data_of(&p))) return;
    uint8_t *at = cells_edit(s->cells, p.cell) + p.at + 1 + 4 * (size_t)t;
    memcpy(&v, at, sizeof v);
    int64_t sum = (int64_t)v + by;
    v = sum < 0 ? 0 : (uint32_t)sum;
    memcpy(at, &v, sizeof v);
}

static bool has_flag(struct cells *c, struct bytes app, struct bytes id, uint8_t flag) {
    struct place p = find(c, app, id);
    return p.cell && *data_of(&p) & flag;
}
bool content_cancelled(struct cells *c, struct bytes app, struct bytes id) {
    return has_flag(c, app, id, FLAG_CANCELLED);
}
bool content_is_shared(struct cells *c, struct bytes app, struct bytes id) {
    return has_flag(c, app, id, FLAG_SHARED);
}

bool content_is_kept(struct cells *c, struct bytes app, struct bytes id) {
    struct cell *head;
    if (!trigger_is_direct(id)) return false; /* when it came is not said */
    struct list l = list_get(c, app, &head);
    return l.count && message_id_ms(id) > before_of(c, app, l.first_block);
}

/* What was put off in this partition may come behind its cancellation: that is kept then. */
static void cancelled_before(struct step *s, struct bytes id) {
    uint8_t room[300], head[HEAD_ONE] = {FLAG_CANCELLED};
    struct content k = {.id = id, .created_ms = s->time_ms};
    struct buf b = {0};
    buf_add(&b, head, sizeof head);
    content_encode(&b, &k);
    cells_put(s->cells, cells_get(s->cells, key2(room, '&', s->app, id)), buf_view(&b));
    buf_done(&b);
    forget_later(s, FORGET_CONTENT, id);
}

bool content_cancel(struct step *s, struct bytes id) {
    struct place p = find(s->cells, s->app, id);
    /* only of triggers that there were: an id that comes later is another's */
    if (!p.cell && s->relay) cancelled_before(s, id);
    if (!p.cell || *data_of(&p) & FLAG_CANCELLED) return false;
    cells_edit(s->cells, p.cell)[p.at] |= FLAG_CANCELLED;
    return true;
}
