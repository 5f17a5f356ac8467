/* config: the YAML file, by libcyaml, against a schema made of the names. This is the only file
 * that includes it. SPDX-License-Identifier: Apache-2.0 */
#include "config/config_in.h"

#include <cyaml/cyaml.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The library tells what is wrong, then where, a line each: they become one sentence, where nothing better is
 * known (fault.c). */
static void words_take(cyaml_log_t level, void *arg, const char *fmt, va_list args) {
    struct buf *why = arg;
    char line[256];
    if (level < CYAML_LOG_ERROR || vsnprintf(line, sizeof line, fmt, args) <= 0) return;
    line[strcspn(line, "\n")] = 0;
    const char *text = line;
    for (const char *skip[] = {"Load: ", "  in ", "Backtrace:"}, **s = skip; s < skip + 3; s++)
        if (strncmp(text, *s, strlen(*s)) == 0) text += strlen(*s);
    if (*text) buf_fmt(why, ": %s", text);
}

enum err config_read(
    const char *path, const char *const *names, size_t n, struct config *out, struct buf *why) {
    check(n < CONFIG_NAMES_MAX);
    *out = (struct config){0};
    if (access(path, R_OK) != 0)
        return buf_fmt(why, "the configuration file %s cannot be read", path), MISSING;
    cyaml_schema_field_t fields[CONFIG_NAMES_MAX + 1] = {0};
    for (size_t i = 0; i < n; i++) {
        fields[i].key = names[i];
        fields[i].data_offset = (uint32_t)(i * sizeof(char *));
        fields[i].value.type = CYAML_STRING;
        fields[i].value.flags = CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL;
        fields[i].value.data_size = 1;
        fields[i].value.string.max = 4096;
    }
    const cyaml_schema_value_t schema = {.type = CYAML_MAPPING,
        .flags = CYAML_FLAG_POINTER,
        .data_size = sizeof *out,
        .mapping.fields = fields};
    struct config *read = NULL;
    struct buf said = {0};
    cyaml_config_t how = {
        .log_fn = words_take, .log_ctx = &said, .log_level = CYAML_LOG_ERROR, .mem_fn = cyaml_mem};
    cyaml_err_t e = cyaml_load_file(path, &how, &schema, (cyaml_data_t **)&read, NULL);
    size_t before = why->n;
    buf_fmt(why, "the configuration file %s is not right", path);
    if (e != CYAML_OK) {
        if (!config_fault(path, names, n, why)) {
            buf_bytes(why, buf_view(&said));
            buf_str(why, "; each line is 'name: value', as in 'http: 127.0.0.1:8080'");
        }
        buf_done(&said);
        return MALFORMED;
    }
    buf_done(&said);
    if (read) *out = *read; /* an empty file gives nothing */
    free(read);
    for (size_t i = 0; i < n; i++) /* a name without a value, which is not '' */
        if (out->values[i] && !*out->values[i] && config_fault(path, names, n, why))
            return config_done(out), MALFORMED;
    why->n = before;
    return OK;
}

void config_done(struct config *c) {
    for (size_t i = 0; i < CONFIG_NAMES_MAX; i++) free(c->values[i]);
    *c = (struct config){0};
}
