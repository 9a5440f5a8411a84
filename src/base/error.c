#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

int error_set(struct error *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (err == NULL) {
		return code;
	}
	err->code = code;
	err->hint[0] = '\0';
	va_start(ap, fmt);
	vsnprintf(err->message, sizeof(err->message), fmt, ap);
	va_end(ap);
	text_make_utf8(err->message);
	return code;
}

int error_hint(struct error *err, const char *fmt, ...)
{
	va_list ap;

	if (err == NULL) {
		return 0;
	}
	va_start(ap, fmt);
	vsnprintf(err->hint, sizeof(err->hint), fmt, ap);
	va_end(ap);
	text_make_utf8(err->hint);
	return err->code;
}

int error_prefix(struct error *err, const char *fmt, ...)
{
	char old[sizeof(err->message)];
	va_list ap;
	size_t n;

	if (err == NULL) {
		return 0;
	}
	memcpy(old, err->message, sizeof(old));
	va_start(ap, fmt);
	vsnprintf(err->message, sizeof(err->message), fmt, ap);
	va_end(ap);
	n = strlen(err->message);
	if (snprintf(err->message + n, sizeof(err->message) - n, ": %s", old) < 0) {
		err->message[n] = '\0';
	}
	text_make_utf8(err->message);
	return err->code;
}

void error_clear(struct error *err)
{
	*err = (struct error){0};
}
