/* config: the YAML file, by libcyaml, against a schema made of the names. This is the only file
 * that includes it. SPDX-License-Identifier: Apache-2.0 */
#include "config/config.h"

#include <cyaml/cyaml.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The library tells what is wrong, then where, a line each: they become one sentence. */
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
    const cyaml_config_t how = {
        .log_fn = words_take, .log_ctx = why, .log_level = CYAML_LOG_ERROR, .mem_fn = cyaml_mem};
    struct config *read = NULL;
    size_t before = why->n;
    buf_fmt(why, "the configuration file %s is not right", path);
    cyaml_err_t e = cyaml_load_file(path, &how, &schema, (cyaml_data_t **)&read, NULL);
    if (e != CYAML_OK) {
        if (e == CYAML_ERR_LIBYAML_PARSER) buf_str(why, ": it is not YAML");
        return MALFORMED;
    }
    why->n = before;
    if (read) *out = *read; /* an empty file gives nothing */
    free(read);
    return OK;
}

void config_done(struct config *c) {
    for (size_t i = 0; i < CONFIG_NAMES_MAX; i++) free(c->values[i]);
    *c = (struct config){0};
}
