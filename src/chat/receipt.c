/* chat, conversation side: receipts: one pair of marks a member, which only move forward.
 * SPDX-License-Identifier: Apache-2.0 */
#include "chat/conv_in.h"

void marks_raise(struct step *s, struct bytes conv, struct conv *v, struct bytes user,
    uint64_t delivered, uint64_t read) {
    struct member m;
    if (!member_get(s->cells, s->app, conv, user, &m)) return;
    if (delivered > v->seq) delivered = v->seq;
    if (read > v->seq) read = v->seq;
    if (read > delivered) delivered = read;
    if (delivered <= m.delivered && read <= m.read) return;
    if (delivered > m.delivered) m.delivered = delivered;
    if (read > m.read) {
        m.read = read;
        reader_moved(s, conv, v, user, &m);
        conv_set(s, conv, v);
    }
    member_set(s, conv, user, &m);
    bool push = v->type == CONV_DIRECT ||
                (v->type == CONV_GROUP && v->member_count <= RECEIPT_PUSH_MEMBERS_MAX);
    struct buf b = {0};
    pack_bytes(&b, conv);
    pack_u8(&b, v->type);
    pack_bytes(&b, user);
    pack_var(&b, m.delivered);
    pack_var(&b, m.read);
    pack_u8(&b, push);
    if (push) {
        conv_broadcast(s, conv, v, KIND_COPY_RECEIPT, buf_view(&b));
    } else {
        pack_var(&b, 0);
        step_relay(
            s, partition_of_user(s->app, user, s->partitions), KIND_COPY_RECEIPT, buf_view(&b));
    }
    buf_done(&b);
}

void apply_receipt(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes conv = unpack_bytes(&u), user = unpack_bytes(&u);
    uint64_t delivered = unpack_var(&u), read = unpack_var(&u);
    struct conv v;
    struct member m;
    if (!conv_get(s->cells, s->app, conv, &v) || !member_get(s->cells, s->app, conv, user, &m)) {
        answer_problem(s->answer, PROBLEM_NOT_FOUND, "",
            "there is no conversation '%.*s' with '%.*s' in it", (int)conv.n, (const char *)conv.p,
            (int)user.n, (const char *)user.p);
        return;
    }
    if (delivered > v.seq || read > v.seq) {
        answer_problem(s->answer, PROBLEM_INVALID_VALUE, read > v.seq ? "read" : "delivered",
            "the newest message here has seq %llu", (unsigned long long)v.seq);
        return;
    }
    marks_raise(s, conv, &v, user, delivered, read);
    answer_ok(s->answer, 200);
    if (!s->wanted || !member_get(s->cells, s->app, conv, user, &m)) return;
    buf_fmt(&s->answer->body, "{\"user\":\"%.*s\",\"delivered\":%llu,\"read\":%llu}", (int)user.n,
        (const char *)user.p, (unsigned long long)m.delivered, (unsigned long long)m.read);
}

void apply_mark(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes conv = unpack_bytes(&u), user = unpack_bytes(&u);
    uint64_t delivered = unpack_var(&u), read = unpack_var(&u);
    struct conv v;
    answer_ok(s->answer, 200);
    if (conv_get(s->cells, s->app, conv, &v)) marks_raise(s, conv, &v, user, delivered, read);
}

enum err plan_receipt_post(struct request *r, struct plan *p, struct answer *a) {
    static const struct json_field FIELDS[] = {
        {"delivered", JSON_I64, false, false, 0}, {"read", JSON_I64, false, false, 0}};
    struct json_value f[2];
    if (!request_object(r, FIELDS, 2, f, a)) return REFUSED;
    if (!r->who.user.n)
        return answer_problem(a, PROBLEM_INVALID_VALUE, "user",
                   "a server key names whose receipt it is by ?user="),
               REFUSED;
    if (!f[0].present && !f[1].present)
        return answer_problem(a, PROBLEM_INVALID_VALUE, "read", "give 'delivered', 'read' or both"),
               REFUSED;
    p->partition = conv_partition(r);
    p->kind = KIND_RECEIPT;
    pack_bytes(&p->body, r->params[0]);
    pack_bytes(&p->body, r->who.user);
    for (int i = 0; i < 2; i++) {
        int64_t v = f[i].present ? json_i64(f[i].v) : 0;
        if (v < 0)
            return answer_problem(
                       a, PROBLEM_INVALID_VALUE, FIELDS[i].name, "a seq is not negative"),
                   REFUSED;
        pack_var(&p->body, (uint64_t)v);
    }
    return OK;
}

/* ---- GET receipts: newest readers first. The cursor is the slot behind which to go on, plus one:
 * 0 begins. ---- */
struct marks {
    struct query *q;
    struct json_out o;
    uint64_t limit, last; /* slot of the last one shown */
    bool more;
};
static bool mark_json(void *arg, uint64_t slot, struct bytes user) {
    struct marks *l = arg;
    const struct request *r = l->q->request;
    struct member m;
    check(member_get(l->q->cells, r->who.app, r->params[0], user, &m));
    if (!l->limit--) return !(l->more = true);
    jo_open_obj(&l->o);
    jo_key(&l->o, "user");
    jo_str(&l->o, user);
    jo_key(&l->o, "delivered");
    jo_u64(&l->o, m.delivered);
    jo_key(&l->o, "read");
    jo_u64(&l->o, m.read);
    jo_close_obj(&l->o);
    l->last = slot;
    return true;
}

static void query_receipts(struct query *q) {
    const struct request *r = q->request;
    const struct offset_page *page = r->args;
    struct conv v;
    struct member me;
    struct marks l = {.q = q, .o = {&q->answer->body, false}, .limit = page->limit};
    if (!viewer_in(q, r->params[0], &me, &v)) return;
    answer_ok(q->answer, 200);
    buf_str(&q->answer->body, "{\"items\":[");
    uint64_t below = page->from ? page->from - 1 : 0;
    bool past = page->from == 1; /* behind the first slot there is nothing */
    if (v.type == CONV_DIRECT && !past)
        members_newest(q->cells, r->who.app, r->params[0], below, mark_json, &l);
    else if (!past) readers_newest(q->cells, r->who.app, r->params[0], below, mark_json, &l);
    buf_str(&q->answer->body, "],\"next\":");
    if (l.more) {
        buf_char(&q->answer->body, '"');
        cursor_format(&q->answer->body, r->epoch, l.last + 1);
        buf_str(&q->answer->body, "\"}");
    } else {
        buf_str(&q->answer->body, "null}");
    }
}
enum err plan_receipt_list(struct request *r, struct plan *p, struct answer *a) {
    if (!offset_page_read(r, a)) return REFUSED;
    p->partition = conv_partition(r);
    p->query = query_receipts;
    return OK;
}
