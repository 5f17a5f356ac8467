/* inbox: what a notification looks like: its words in the reader's language, as members of a JSON object.
 * SPDX-License-Identifier: Apache-2.0 */
#include "inbox/inbox_in.h"
#include "person/person.h"

struct reader reader_of(struct cells *c, struct bytes app, struct bytes user) {
    struct person who;
    if (!person_find(c, app, user, &who)) return (struct reader){0};
    return (struct reader){.locale = who.locale, .zone = who.timezone};
}

static struct bytes actor_word(struct cells *c, struct bytes app, const struct row *r) {
    struct unpack u = unpack_of(r->newest);
    if (!unpack_more(&u)) return (struct bytes){0};
    struct bytes id = unpack_bytes(&u), name = unpack_bytes(&u);
    if (person_gone_ms(c, app, id) >= r->at_ms) return BYTES("\xe2\x80\x94"); /* a dash */
    return name.n ? name : id;
}

static struct template_arg number_arg(const char *name, int64_t v) {
    return template_integer(bytes_str(name), v);
}
static struct template_arg text_arg(const char *name, struct bytes v) {
    return (struct template_arg){.name = bytes_str(name), .kind = TEMPLATE_TEXT, .text = v};
}

size_t notification_args(struct cells *c, struct bytes app, const struct workflow *w,
    struct bytes zone, const struct row *r, const struct content *k,
    struct template_arg out[static ARGS_MAX]) {
    size_t n = 0;
    out[n++] = text_arg("actor", actor_word(c, app, r));
    out[n++] = number_arg("count", r->actors);
    out[n++] = number_arg("others", r->actors ? (int64_t)r->actors - 1 : 0);
    out[n++] = text_arg("object", k->object);
    size_t data = args_unpack(k->args, out + n, ARGS_MAX - n);
    workflow_args_settle(w, zone, out + n, data);
    return n + data;
}

static void words(struct tools *t, const struct workflow *w, struct bytes locale,
    struct json_out *o, const char *part, const struct template_arg *args, size_t n) {
    struct buf text = {0};
    struct template_fault fault;
    /* checked when the workflow was stored; what fails still leaves the rest */
    if (!workflow_words(t, w, locale, part, args, n, &text, &fault)) buf_reset(&text);
    jo_key(o, part);
    jo_str_any(o, buf_view(&text));
    buf_done(&text);
}

static void actors_json(
    struct cells *c, struct bytes app, const struct row *r, struct json_out *o) {
    struct unpack u = unpack_of(r->newest);
    if (!unpack_more(&u)) return;
    jo_key(o, "actor");
    jo_str(o, unpack_bytes(&u));
    u = unpack_of(r->newest);
    jo_key(o, "actors");
    jo_open_obj(o);
    jo_key(o, "count");
    jo_u64(o, r->actors);
    jo_key(o, "newest");
    jo_open_arr(o);
    while (unpack_more(&u)) {
        jo_str(o, unpack_bytes(&u));
        (void)unpack_bytes(&u);
    }
    jo_close_arr(o);
    jo_close_obj(o);
}

static void time_member(struct json_out *o, const char *name, int64_t ms) {
    if (!ms) return;
    jo_key(o, name);
    jo_time(o, ms);
}

void notification_json(struct tools *t, struct cells *c, struct bytes app,
    const struct reader *reader, const struct row *r, const struct content *k,
    const struct workflow *w, struct buf *out) {
    struct template_arg args[ARGS_MAX];
    struct json_out o = {out, false};
    jo_key(&o, "id");
    jo_str(&o, r->id);
    jo_key(&o, "trigger");
    jo_str(&o, k->id);
    jo_key(&o, "workflow");
    jo_str(&o, k->workflow);
    time_member(&o, "created_at", r->created_ms);
    if (r->at_ms != r->created_ms) time_member(&o, "updated_at", r->at_ms);
    if (w) {
        size_t n = notification_args(c, app, w, reader->zone, r, k, args);
        words(t, w, reader->locale, &o, "title", args, n);
        words(t, w, reader->locale, &o, "body", args, n);
    } else { /* deleted since */
        jo_key(&o, "title");
        jo_str(&o, (struct bytes){0});
        jo_key(&o, "body");
        jo_str(&o, (struct bytes){0});
    }
    actors_json(c, app, r, &o);
    if (k->object.n) {
        jo_key(&o, "object");
        jo_str(&o, k->object);
    }
    if (k->data.n) {
        jo_key(&o, "data");
        jo_raw(&o, k->data);
    }
    time_member(&o, "seen_at", r->seen_ms);
    time_member(&o, "read_at", r->read_ms);
    time_member(&o, "archived_at", r->archived_ms);
    time_member(&o, "clicked_at", r->clicked_ms);
    time_member(&o, "expires_at", r->expires_ms);
}
