/*
 * What the parts of libsluice share. Thread rule: as sluice.h, one thread per connection.
 */
#pragma once

#include <curl/curl.h>
#include <jansson.h>

#include "sluice.h"

#define SLUICE_API __attribute__((visibility("default")))
#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

struct sluice_connection {
	CURL *curl;
	char *base;	 /* "http://localhost" */
	char *unix_path; /* NULL for TCP */
	char *url;	 /* as given, for messages */
	unsigned timeout_ms;
};

/* Fills error (may be NULL) and returns code. */
int connection_error(struct sluice_error *error, int code, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Sets what every transfer needs; path as in sluice_call(). -ENOMEM. */
int connection_prepare(
    struct sluice_connection *connection, const char *path, struct sluice_error *error);
/* What a failed transfer means. */
int connection_failure(
    const struct sluice_connection *connection, CURLcode code, struct sluice_error *error);
/* What an answer with an error's status says. */
int connection_refusal(long status, const char *answer, struct sluice_error *error);
