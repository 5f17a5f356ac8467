/* fuzz: what each fuzzer gives: libFuzzer's own entry, and seeds made by code. driver.c runs both
 * where there is no libFuzzer.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_FUZZ_H
#define KITH_FUZZ_H

#include "base/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

/* Gives inputs to begin from, any number, each at most FUZZ_INPUT_MAX bytes; they are copied. */
enum { FUZZ_INPUT_MAX = 8192 };
void fuzz_seeds(void (*give)(void *arg, struct bytes seed), void *arg);

#endif
