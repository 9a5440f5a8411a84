/* Events: server-sent events, HTML Living Standard section 9.2. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "private.h"

#define LINE_MAX_BYTES (4u << 20)
/* The daemon sends a comment every 15 s. */
#define SILENCE_S 60L

struct watch {
	struct sluice_connection *connection;
	int (*event)(void *context, const struct sluice_event *event);
	void (*opened)(void *context);
	void *context;
	bool is_open;
	int ended; /* what event() returned */
	char *line;
	size_t line_len;
	char type[64];
	char *data;
};

static const char *text_of(const json_t *document, const char *key)
{
	const char *text = json_string_value(json_object_get(document, key));

	return text != NULL ? text : "";
}

/* An empty line ends an event. */
static int deliver(struct watch *w)
{
	json_t *document = w->data != NULL ? json_loads(w->data, 0, NULL) : NULL;
	struct sluice_event event = {
	    .seq = (uint64_t)json_integer_value(json_object_get(document, "seq")),
	    .type = strcmp(w->type, "lost") == 0 ? "lost" : text_of(document, "type"),
	    .level = text_of(document, "level"),
	    .object = text_of(document, "object"),
	    .message = text_of(document, "message"),
	    .time = text_of(document, "time"),
	    .json = w->data,
	};
	int rc = document != NULL ? w->event(w->context, &event) : 0;

	json_decref(document);
	free(w->data);
	w->data = NULL;
	w->type[0] = '\0';
	return rc;
}

static int take_line(struct watch *w)
{
	const char *value;

	if (w->line_len == 0) {
		return deliver(w);
	}
	if (w->line[0] == ':' && !w->is_open) {
		w->is_open = true;
		if (w->opened != NULL) {
			w->opened(w->context);
		}
	}
	value = strchr(w->line, ':');
	if (value == NULL) {
		return 0;
	}
	value += value[1] == ' ' ? 2 : 1;
	if (strncmp(w->line, "event:", 6) == 0) {
		snprintf(w->type, sizeof(w->type), "%s", value);
	} else if (strncmp(w->line, "data:", 5) == 0) {
		free(w->data);
		w->data = strdup(value);
	}
	return 0;
}

static int line_append(struct watch *w, const char *data, size_t len)
{
	char *line;

	if (w->line_len + len > LINE_MAX_BYTES) {
		return -EPROTO;
	}
	line = realloc(w->line, w->line_len + len + 1);
	if (line == NULL) {
		return -ENOMEM;
	}
	memcpy(line + w->line_len, data, len);
	w->line = line;
	w->line_len += len;
	line[w->line_len] = '\0';
	return 0;
}

/* Returning anything but the number of bytes ends the transfer. */
static size_t on_stream(char *data, size_t size, size_t count, void *arg)
{
	struct watch *w = arg;
	size_t left = size * count;

	while (left > 0 && w->ended == 0) {
		const char *newline = memchr(data, '\n', left);
		size_t len = newline != NULL ? (size_t)(newline - data) : left;

		w->ended = line_append(w, data, len);
		if (newline != NULL && w->ended == 0) {
			w->ended = take_line(w);
			w->line_len = 0;
			len++;
		}
		data += len;
		left -= len;
	}
	return w->ended == 0 ? size * count : 0;
}

static int stream(struct watch *w, const char *path, struct sluice_error *error)
{
	CURL *curl = w->connection->curl;
	int rc = connection_prepare(w->connection, path, error);
	long status = 0;
	CURLcode code;

	if (rc != 0) {
		return rc;
	}
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_stream);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, w);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, SILENCE_S);
	curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT, 1L);
	code = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	if (w->ended != 0) {
		return w->ended;
	}
	if (status >= 300) {
		/* The body of a refusal is one line without an end. */
		return connection_refusal(status, w->line, error);
	}
	return code != CURLE_OK ? connection_failure(w->connection, code, error)
				: connection_error(error, -ECONNRESET, "watch again to go on",
				      "the daemon at %s ended the stream", w->connection->url);
}

SLUICE_API int sluice_watch(struct sluice_connection *connection, uint64_t since, const char *type,
    int (*event)(void *context, const struct sluice_event *event), void (*opened)(void *context),
    void *context, struct sluice_error *error)
{
	struct watch w = {
	    .connection = connection, .event = event, .opened = opened, .context = context};
	char *escaped = type != NULL ? curl_easy_escape(connection->curl, type, 0) : NULL;
	char path[512] = "/v1/events?";
	size_t n = strlen(path);
	int rc;

	if (since != SLUICE_NEW_EVENTS) {
		n += (size_t)snprintf(path + n, sizeof(path) - n, "since=%ju&", (uintmax_t)since);
	}
	if (escaped != NULL) {
		snprintf(path + n, sizeof(path) - n, "type=%s", escaped);
	}
	curl_free(escaped);
	rc = stream(&w, path, error);
	free(w.line);
	free(w.data);
	return rc;
}
