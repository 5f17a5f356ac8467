/* notify: what is held of a user here, for GET /v1/users/{id}/export: wishes, the inbox, and what
 * was learned of them. SPDX-License-Identifier: Apache-2.0 */
#include "notify/notify_in.h"

static void inbox_json(struct query *q, struct bytes app, struct bytes user, struct json_out *o) {
    const struct request *r = q->request;
    struct reader reader = reader_of(q->cells, app, user);
    struct arena arena = {0};
    struct content k;
    struct inbox i;
    inbox_open(&i, q->cells, app, user, r->now_ms, &arena);
    inbox_fold(&i, NULL);
    inbox_load(&i);
    for (size_t n = i.count; n > 0; n--) {
        const struct row *row = &i.row[n - 1];
        if (row->flags & (ROW_MOVED | ROW_HIDDEN) || !content_find(q->cells, app, row->trigger, &k))
            continue;
        jo_open_obj(o);
        struct workflow w;
        bool there = workflow_find(q->cells, app, k.workflow, &w);
        notification_json(q->tools, q->cells, app, &reader, row, &k, there ? &w : NULL, o->b);
        jo_close_obj(o);
    }
    arena_done(&arena);
}

bool notify_export(struct query *q, struct json_out *o) {
    const struct request *r = q->request;
    struct bytes app = r->who.app, user = r->params[0];
    struct bytes learned = relevance_state(q->cells, app, user);
    jo_key(o, "preferences");
    preferences_json(q->cells, app, user, r->now_ms, o);
    jo_key(o, "notifications");
    jo_open_arr(o);
    inbox_json(q, app, user, o);
    jo_close_arr(o);
    if (learned.n) {
        struct buf text = {0};
        base64url_encode(&text, learned);
        jo_key(o, "learned");
        jo_str(o, buf_view(&text));
        buf_done(&text);
    }
    return true;
}
