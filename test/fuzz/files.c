/* fuzz: the files that people and the command line write: configuration (YAML), a recorded trace,
 * the secrets. The first byte says which of them it is. A file that is refused is refused in words;
 * a trace that is taken hangs together. SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admit/admit_in.h"
#include "config/config.h"
#include "replay/trace.h"

void fuzz_seeds(void (*give)(void *arg, struct bytes seed), void *arg) {
    static const char *const TEXTS[] = {"ahttp: 127.0.0.1:8080\ndev: true\ndata: \"./x\"\n",
        "a---\nhttp: >\n  folded\n  text\nmqtt: 'q'\n...\n", "a{http: a, mqtt: b}",
        "a&x http: *x\n<<: *x\n", "ahttp: [1, 2]\n", "a# nothing\n",
        "aHTTP: !!str 1\n? http\n: |-\n  x\n", "bann bob 1082040961\nbob ann 1082040962.5\n",
        "bfrom,to,time\nann,bob,1\n# a comment\n% another\n\nbob\tann\t2\textra\n",
        "bann ann 0\nx y 1e300\n", "bann bob -1\n",
        ("ckith-secrets 1\nsign demo MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY\nkey ab12 name "
         "demo read,write 1700000000000 0 "
         "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\nissuer demo aXNz YXVk "
         "hs256 MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY\n"),
        "ckith-secrets 1\n", "ckith-secrets 2\n"};
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++) give(arg, bytes_str(TEXTS[i]));
}

static void config_one(const char *path) {
    static const char *const NAMES[] = {"http", "mqtt", "data", "dev", "shards"};
    struct config c;
    struct buf why = {0};
    enum err e = config_read(path, NAMES, 5, &c, &why);
    check((e == OK) == !why.n && (e == OK || e == MALFORMED));
    for (int i = 0; i < CONFIG_NAMES_MAX; i++)
        check(!c.values[i] || (e == OK && i < 5 && strlen(c.values[i]) <= 4096));
    config_done(&c);
    buf_done(&why);
}

static void trace_one(const char *path) {
    struct trace t;
    struct buf why = {0};
    enum err e = trace_read(path, &t, &why);
    check((e == OK) == !why.n);
    size_t counted = 0;
    for (size_t i = 0; e == OK && i < t.message_count; i++) {
        const struct trace_message *m = &t.messages[i];
        check(m->conversation < t.conversation_count &&
              (m->next == TRACE_NONE || (m->next > i && m->next < t.message_count)));
        check(m->at_s >= (i ? t.messages[i - 1].at_s : 0));
    }
    for (size_t i = 0; e == OK && i < t.conversation_count; i++) {
        const struct trace_conversation *c = &t.conversations[i];
        check(c->people[0] < t.people_count && c->people[1] < t.people_count &&
              t.messages[c->last].next == TRACE_NONE);
        counted += c->count;
    }
    check(e != OK || counted == t.message_count);
    for (size_t i = 0; e == OK && i < t.people_count; i++) check(id_valid(t.people[i]));
    trace_done(&t);
    buf_done(&why);
}

static void secrets_one(const char *path) {
    struct secrets s;
    struct buf why = {0};
    enum err e = secrets_load(path, &s, &why);
    check((e == OK) == !why.n);
    for (size_t i = 0; e == OK && i < s.key_count; i++)
        check(id_valid(bytes_str(s.keys[i].app)) && memchr(s.keys[i].name, 0, ID_TEXT));
    for (size_t i = 0; e == OK && i < s.signer_count; i++)
        check(secrets_signer(&s, bytes_str(s.signers[i].app)));
    secrets_done(&s);
    buf_done(&why);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    if (!n) return 0;
    char path[40];
    int fd = memfd_create("input", MFD_CLOEXEC);
    check(fd >= 0 && fchmod(fd, 0600) == 0 && write(fd, p + 1, n - 1) == (ssize_t)(n - 1));
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (p[0] == 'a') config_one(path);
    else if (p[0] == 'b') trace_one(path);
    else secrets_one(path);
    close(fd);
    return 0;
}
