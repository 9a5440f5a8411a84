/*
 * Errors for people. A function returns 0 or a negative errno; where a person will read the outcome
 * it also fills a struct error: what went wrong, and what to do about it, always as UTF-8. Outputs (ret_...) are
 * untouched on failure. Any thread.
 */
#pragma once

#include "base/macros.h"

struct error {
	int code; /* negative errno, 0 = no error */
	char message[256];
	char hint[256];
};

/* Fills err (may be NULL) and returns code, so that a caller can write `return error_set(err,
 * -EINVAL, ...)`. */
int error_set(struct error *err, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Adds what the reader can do about it; returns err->code. */
int error_hint(struct error *err, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Puts text in front of the message ("opening LU a: ..."); returns err->code. */
int error_prefix(struct error *err, const char *fmt, ...) PRINTF_LIKE(2, 3);
void error_clear(struct error *err);
