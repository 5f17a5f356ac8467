/* workflow: what an app sets once, for all of its notifications: workflows, with the words of each
 * language, and webhooks. A service of notify: it has their records, routes and cells, and decides nothing
 * about a person.
 *
 *   PUT ─▶ checked and packed (definition.c) ─▶ record at home, which says the order ─▶ relay to every
 *   partition (settings.c) ─▶ answered when all have it
 *
 * Invariants: every partition has the same settings, in the order of their home; as they were given they
 * lie only there, where requests ask. What is read of one is
 * a view that lasts until the next edit. Cells: '#' app workflow, '$' app webhook. Records:
 *   WORKFLOW_PUT   varbytes id, u64 version that it follows (0: none), varbytes definition (empty: it is
 *                  deleted, whatever its version)                       in the workflows' partition
 *   WORKFLOW_COPY  varbytes id, u64 version, varbytes definition (empty: deleted)   relay, to all
 *   WEBHOOK_PUT    varbytes id, u8 what is given, varbytes url, u32 events, varbytes new secret
 *                  (webhooks.c)                                          in the webhooks' partition
 *   WEBHOOK_COPY   as WORKFLOW_COPY
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_WORKFLOW_H
#define KITH_WORKFLOW_H

#include "surface/surface.h"
#include "template/template.h"

/* ---- routes and rules; notify.c joins them to its own ---- */
extern const struct surface_part workflows_part, webhooks_part;

/* ---- settings.c: what an app sets once and every partition has: workflows, webhooks ---- */
struct settings { /* one sort of them */
    const char *noun, *home;
    char tag;
    uint8_t copy;                    /* kind of the relay */
    unsigned most;                   /* of an app */
    void (*changed)(struct step *s); /* in each partition, after a change; may be NULL */
    /* What partitions other than its home need of a value; NULL: all of it */
    void (*travels)(struct bytes value, struct buf *out);
};
uint16_t settings_home(const struct settings *k, struct bytes app, uint16_t partitions);
/* Empty: there is none. A view. */
struct bytes settings_find(struct cells *c, const struct settings *k, struct bytes app,
    struct bytes id, uint64_t *out_version);
/* In the order in which they were made; fn must not edit. */
void settings_each(struct cells *c, const struct settings *k, struct bytes app,
    void (*fn)(void *arg, struct bytes id, struct bytes value), void *arg);
/* Apply, at home: sets, or with no value deletes, and tells the other partitions. The answer has its
 * status, and if wanted a body that begins with the version: what the client is to see comes behind.
 * false: there is no room for another one, the answer says so. */
bool settings_set(struct step *s, const struct settings *k, struct bytes id, struct bytes value);
void settings_copied(struct step *s, const struct settings *k); /* apply of the relay */
/* A gather: the record at home has this answer. Waits until every partition has what it stored. */
bool settings_stored(const struct settings *k, struct request *r, struct plan *p,
    const struct answer *part, struct answer *a);
/* All of an app's, newest first; json writes one as an object. */
typedef void settings_json(struct json_out *o, struct bytes id, struct bytes value, int64_t now_ms);
enum err settings_plan_list(const struct settings *k, settings_json *json, struct request *r,
    struct plan *p, struct answer *a);
void answer_take(struct answer *a, const struct answer *part); /* a copy */
/* Each of a partition is listed and can be read; lines in *why where not. */
bool settings_sound(
    struct cells *c, const struct settings *k, bool (*whole)(struct bytes value), struct buf *why);
bool workflows_sound(struct cells *c, struct buf *why);
bool webhooks_sound(struct cells *c, struct buf *why);

/* ---- workflow.c ---- */
enum {
    CHANNEL_INAPP = 1,
    CHANNEL_PUSH = 2,
    CHANNEL_EMAIL = 4,
    CHANNEL_WEBHOOK = 8,
    CHANNELS_ALL = 15
};
enum priority { PRIORITY_NORMAL, PRIORITY_HIGH, PRIORITY_LOW };
enum cap_per { CAP_NONE, CAP_HOUR, CAP_DAY, CAP_WEEK }; /* of the person's own calendar */
enum group_part { GROUP_ACTOR = 1, GROUP_OBJECT, GROUP_DATA /* a key of data */ };
enum { ESCALATE_UNLESS_SEEN = 1, ESCALATE_UNLESS_READ };
struct workflow { /* views of its cell, until the next edit */
    uint64_t version;
    uint8_t channels; /* all that it may use, those of escalate too */
    uint8_t at_once;  /* those that do not wait for an escalation */
    uint8_t priority, cap_per;
    uint32_t cap_count;
    bool learned; /* relevance */
    bool first_at_once;
    uint32_t target_milli; /* learned: of learn_target; so is: */
    int32_t explore;
    int64_t digest_ms;      /* window; 0: none */
    int64_t expires_ms;     /* after the trigger; 0: never */
    struct bytes group_by;  /* repeated { u8 group_part, varbytes data key }; empty: not grouped */
    struct bytes escalate;  /* repeated { var after_ms, u8 channels, u8 unless } in order of time */
    struct bytes needs;     /* keys of data that its templates use: workflow_need */
    struct bytes templates; /* words.c's */
    uint64_t words;         /* hash of the templates: what was rendered by them stays good */
    struct bytes source;    /* as it was given: a JSON object; empty but in the workflows' home */
};
bool workflow_find(struct cells *c, struct bytes app, struct bytes id, struct workflow *out);
bool workflow_tells_times(const struct workflow *w); /* which depend on the reader's zone */
bool workflow_has_choice(const struct workflow *w);  /* templates in more than one language */

/* ---- definition.c: what a PUT may say ---- */
enum { DEFINITION_BYTES_MAX = 256 * 1024, WORKFLOW_TARGET_MILLI = 5000 };
enum definition_field {
    DEFINITION_CHANNELS,
    DEFINITION_TEMPLATES,
    DEFINITION_DATA,
    DEFINITION_GROUP_BY,
    DEFINITION_DIGEST,
    DEFINITION_PRIORITY,
    DEFINITION_CAP,
    DEFINITION_ESCALATE,
    DEFINITION_EXPIRES,
    DEFINITION_RELEVANCE,
    DEFINITION_FIELD_COUNT
};
extern const struct json_field DEFINITION_FIELDS[DEFINITION_FIELD_COUNT];
enum { TEMPLATE_PART_COUNT = 5 };
extern const char *const TEMPLATE_PARTS[TEMPLATE_PART_COUNT];
/* A definition's JSON as it is stored. false: the answer names the field. Not for apply. */
bool definition_read(struct tools *t, struct bytes source, struct buf *out, struct answer *a);
bool definition_unpack(struct bytes v, struct workflow *out); /* but for its version; views */
/* The JSON of a definition with some fields given anew; now: their JSON, empty where they are cleared.
 * old may be empty. */
void definition_merge(
    struct bytes old, const struct bytes *now, const bool *given, struct buf *out);
struct bytes workflow_locale(struct bytes set); /* in which a set of templates is written */

/* ---- words.c ---- */
/* The parts of a template: "title", "body", and of mail "subject", "text", "html"; "" when it has
 * none. Written to *out in the best of its languages for `locale`. false: words in *fault. A variable
 * that is not there is empty. */
bool workflow_words(struct tools *t, const struct workflow *w, struct bytes locale,
    const char *part, const struct template_arg *args, size_t n, struct buf *out,
    struct template_fault *fault);
/* The language that they are in. */
struct bytes workflow_words_locale(struct tools *t, const struct workflow *w, struct bytes locale);
/* Keys of data as its templates want them: a text becomes a time where they take no text. Pure. false:
 * one is missing or of another kind; the answer names data's key. */
bool workflow_args_fit(
    const struct workflow *w, struct template_arg *args, size_t n, struct answer *a) must_use;
/* Values of packed args become times of this zone where the templates take nothing else; what does not
 * fit stays. Pure. */
void workflow_args_settle(
    const struct workflow *w, struct bytes zone, struct template_arg *args, size_t n);
/* Members of a data object that templates can show, as packed { varbytes name, u8 template_kind, value:
 * TEXT varbytes, INTEGER u64, NUMBER u64 (its bits), TIME u64 }; true and false are texts. */
void args_pack(struct json data, struct buf *out);
/* Of a notification: data's, and what the server knows. */
enum { ARGS_MAX = 80 };
/* Views; at most `most`, further ones are left out. */
size_t args_unpack(struct bytes packed, struct template_arg *out, size_t most);

/* ---- webhooks.c ---- */
/* Does any webhook of the app want the event ("notification.read")? One look. */
bool webhooks_want(struct cells *c, struct bytes app, const char *event);
/* Those that want it, oldest first. secrets: packed varbytes of those that sign at now_ms, one or two;
 * fn must not edit. */
typedef void webhook_fn(void *arg, struct bytes id, struct bytes url, struct bytes secrets);
void webhooks_each(struct cells *c, struct bytes app, const char *event, int64_t now_ms,
    webhook_fn *fn, void *arg);
/* For what is tried again. false: it is no more. */
bool webhook_find(struct cells *c, struct bytes app, struct bytes id, int64_t now_ms,
    struct bytes *out_url, struct bytes *out_secrets) must_use;

#endif
