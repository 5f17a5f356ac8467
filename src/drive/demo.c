/* drive: the people, workflows and conversations that `kith serve --dev` begins with: enough to try each call
 * of the guide. Made over HTTP, as an application would; what is there already stays as it is.
 * SPDX-License-Identifier: Apache-2.0 */
#include "drive/drive.h"

#define ANN_BOB "/v1/conversations/ann-bob"
#define ANN_CID "/v1/conversations/ann-cid"
#define FRIENDS "/v1/conversations/friends"
#define LIFE true /* what people did: refused, where they have changed it since */

static const struct {
    const char *call, *body;
    bool life;
} DEMO[] = {
    {"PUT /v1/users/ann", "{\"name\":\"Ann\"}", false},
    {"PUT /v1/users/bob", "{\"name\":\"Bob\"}", false},
    {"PUT /v1/users/cid", "{\"name\":\"Cid\"}", false},
    {"PUT /v1/users/dee", "{\"name\":\"Dee\"}", false},
    {"PUT /v1/users/eli", "{\"name\":\"Eli\"}", false},
    {"PUT /v1/users/fay", "{\"name\":\"Fay\"}", false},
    {"PUT /v1/users/gus", "{\"name\":\"Gus\"}", false},
    {"PUT /v1/users/hal", "{\"name\":\"Hal\"}", false},
    {"PUT /v1/users/ida", "{\"name\":\"Ida\"}", false},
    {"PUT /v1/users/jon", "{\"name\":\"Jon\"}", false},
    {"PUT /v1/users/kim", "{\"name\":\"Kim\"}", false},
    {"PUT /v1/users/lea", "{\"name\":\"Lea\"}", false},
    {"PUT /v1/users/max", "{\"name\":\"Max\"}", false},
    {"PUT /v1/users/nia", "{\"name\":\"Nia\"}", false},
    {"PUT /v1/workflows/like",
        "{\"channels\":[\"inapp\",\"push\"],\"group_by\":\"object\",\"templates\":{\"en\":{"
        "\"title\":\"{others, plural, =0 {{actor} liked your photo} one {{actor} and # other "
        "liked your photo} other {{actor} and # others liked your photo}}\","
        "\"body\":\"{photo}\"}}}",
        false},
    {"PUT /v1/workflows/comment",
        "{\"channels\":[\"inapp\",\"push\",\"email\"],\"digest\":{\"window\":\"20s\","
        "\"first_at_once\":true},\"group_by\":\"object\",\"templates\":{\"en\":{\"title\":"
        "\"{others, plural, =0 {{actor} wrote about your photo} one {{actor} and # other wrote "
        "about your photo} other {{actor} and # others wrote about your photo}}\","
        "\"body\":\"{photo}\"}}}",
        false},
    {"PUT /v1/workflows/train",
        "{\"channels\":[\"inapp\",\"push\"],\"priority\":\"high\",\"expires_after\":\"10m\","
        "\"templates\":{\"en\":{\"title\":\"{n, plural, =0 {Your train leaves now} one {Your "
        "train leaves in # minute} other {Your train leaves in # minutes}}\","
        "\"body\":\"Platform 2, to the lake\"}}}",
        false},
    {"PUT /v1/workflows/message",
        "{\"channels\":[\"inapp\",\"push\"],\"group_by\":\"object\",\"templates\":{\"en\":{"
        "\"title\":"
        "\"{others, plural, =0 {{actor} wrote to you} one {{actor} and # other wrote to you} "
        "other {{actor} and # others wrote to you}}\",\"body\":\"{text}\"}}}",
        false},
    {"PUT /v1/workflows/announcement",
        "{\"channels\":[\"inapp\"],\"templates\":{\"en\":{\"title\":\"{words}\",\"body\":"
        "\"{actor}, to everyone\"}}}",
        false},
    {"PUT " ANN_BOB, "{\"type\":\"direct\",\"members\":[\"ann\",\"bob\"]}", false},
    {"PUT " ANN_CID, "{\"type\":\"direct\",\"members\":[\"ann\",\"cid\"]}", false},
    {"PUT " FRIENDS,
        "{\"type\":\"group\",\"name\":\"Friends\","
        "\"members\":[\"ann\",\"bob\",\"cid\",\"dee\",\"eli\"]}",
        false},
    {"POST " FRIENDS "/messages",
        "{\"id\":\"f1\",\"from\":\"cid\",\"body\":\"They say sun on Saturday\"}", LIFE},
    {"POST " FRIENDS "/messages",
        "{\"id\":\"f2\",\"from\":\"dee\",\"body\":\"Then the lake path? It is the long way "
        "round, but there is cake at the end of it.\"}",
        LIFE},
    {"POST " FRIENDS "/messages",
        "{\"id\":\"f3\",\"from\":\"bob\",\"reply_to\":\"f2\",\"body\":\"For cake I take any "
        "path\"}",
        LIFE},
    {"PUT " FRIENDS "/messages/f2/reactions/%F0%9F%8E%89?user=bob", "", LIFE},
    {"PUT " FRIENDS "/messages/f2/reactions/%F0%9F%8E%89?user=cid", "", LIFE},
    {"POST " FRIENDS "/receipts?user=bob", "{\"read\":3}", LIFE},
    {"POST " FRIENDS "/receipts?user=dee", "{\"read\":3}", LIFE},
    {"POST " ANN_CID "/messages",
        "{\"id\":\"c1\",\"from\":\"cid\",\"body\":\"Do you still have the map?\"}", LIFE},
    {"POST " ANN_BOB "/messages",
        "{\"id\":\"b1\",\"from\":\"ann\",\"body\":\"Are you coming on Saturday?\"}", LIFE},
    {"POST " ANN_BOB "/messages",
        "{\"id\":\"b2\",\"from\":\"bob\",\"body\":\"Yes! The train at nine?\"}", LIFE},
    {"POST " ANN_BOB "/messages",
        "{\"id\":\"b3\",\"from\":\"ann\",\"body\":\"Nine is perfect. I bring the coffee.\"}", LIFE},
    {"PUT " ANN_BOB "/messages/b3/reactions/%E2%9D%A4%EF%B8%8F?user=bob", "", LIFE},
    {"POST " ANN_BOB "/receipts?user=bob", "{\"read\":3}", LIFE},
    {"POST " ANN_BOB "/receipts?user=ann", "{\"read\":3}", LIFE},
};

struct demo {
    struct buf *why;
};

static void demo_make(void *arg, size_t i, struct buf *method_path, struct buf *body) {
    (void)arg;
    buf_str(method_path, DEMO[i].call);
    buf_str(body, DEMO[i].body);
}

static bool demo_done(void *arg, size_t i, int status, struct bytes body) {
    struct demo *d = arg;
    if (status == 200 || status == 201 || (DEMO[i].life && status < 500)) return true;
    buf_fmt(d->why, "%s was answered %d: %.*s", DEMO[i].call, status, (int)body.n,
        (const char *)body.p);
    return false;
}

bool drive_demo(const char *http, const char *key, const atomic_bool *stop, struct buf *why) {
    struct demo d = {why};
    struct requests r = {http, key, sizeof DEMO / sizeof *DEMO, 1 /* in their order */, false, &d,
        demo_make, demo_done, stop};
    return requests_run(&r, why);
}
