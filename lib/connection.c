#include "private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 120000
#define CONNECT_TIMEOUT_MS 5000
#define ANSWER_MAX (64u << 20) /* bytes; more is no answer of sluiced's */

struct answer {
	char *text;
	size_t len;
};

int connection_error(struct sluice_error *error, int code, const char *hint, const char *fmt, ...)
{
	va_list ap;

	if (error == NULL) {
		return code;
	}
	*error = (struct sluice_error){.code = code};
	va_start(ap, fmt);
	vsnprintf(error->message, sizeof(error->message), fmt, ap);
	va_end(ap);
	snprintf(error->hint, sizeof(error->hint), "%s", hint);
	return code;
}

static int no_memory(struct sluice_error *error)
{
	return connection_error(error, -ENOMEM, "", "out of memory");
}

/* -- connecting */

/* "unix:PATH" or "http://HOST:PORT". */
static int parse_url(
    const char *url, struct sluice_connection *connection, struct sluice_error *error)
{
	size_t len = strlen(url);

	connection->url = strdup(url);
	if (strncmp(url, "unix:", 5) == 0 && len > 5) {
		connection->unix_path = strdup(url + 5);
		connection->base = strdup("http://localhost");
		if (connection->unix_path == NULL) {
			return no_memory(error);
		}
	} else if (strncmp(url, "http://", 7) == 0 && len > 7) {
		while (url[len - 1] == '/') {
			len--;
		}
		connection->base = strndup(url, len);
	} else {
		return connection_error(error, -EINVAL, "give unix:PATH or http://HOST:PORT",
		    "'%s' is no address of a daemon", url);
	}
	return connection->base != NULL && connection->url != NULL ? 0 : no_memory(error);
}

SLUICE_API int sluice_connect(
    const char *url, struct sluice_connection **connection, struct sluice_error *error)
{
	struct sluice_connection *c = calloc(1, sizeof(*c));
	int rc;

	if (url == NULL) {
		url = getenv("SLUICE_URL");
	}
	if (url == NULL || url[0] == '\0') {
		url = SLUICE_DEFAULT_URL;
	}
	if (c == NULL) {
		return no_memory(error);
	}
	c->timeout_ms = TIMEOUT_MS;
	rc = parse_url(url, c, error);
	if (rc == 0) {
		c->curl = curl_easy_init();
		rc = c->curl != NULL ? 0 : no_memory(error);
	}
	if (rc != 0) {
		sluice_close(c);
		return rc;
	}
	*connection = c;
	return 0;
}

SLUICE_API void sluice_close(struct sluice_connection *connection)
{
	if (connection == NULL) {
		return;
	}
	curl_easy_cleanup(connection->curl);
	free(connection->base);
	free(connection->unix_path);
	free(connection->url);
	free(connection);
}

SLUICE_API void sluice_set_timeout(struct sluice_connection *connection, unsigned milliseconds)
{
	connection->timeout_ms = milliseconds;
}

SLUICE_API const char *sluice_version(void)
{
	return SLUICE_VERSION;
}

SLUICE_API void sluice_free(void *memory)
{
	free(memory);
}

/* -- calling */

int connection_prepare(
    struct sluice_connection *connection, const char *path, struct sluice_error *error)
{
	CURL *curl = connection->curl;
	char *url;

	/* Keeps the connection itself open for re-use. */
	curl_easy_reset(curl);
	if (asprintf(&url, "%s%s", connection->base, path) < 0) {
		return no_memory(error);
	}
	curl_easy_setopt(curl, CURLOPT_URL, url);
	free(url);
	curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
	if (connection->unix_path != NULL) {
		curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, connection->unix_path);
	}
	return 0;
}

int connection_failure(
    const struct sluice_connection *connection, CURLcode code, struct sluice_error *error)
{
	long os_error = 0;

	curl_easy_getinfo(connection->curl, CURLINFO_OS_ERRNO, &os_error);
	if (code == CURLE_COULDNT_CONNECT && (os_error == EACCES || os_error == EPERM)) {
		return connection_error(error, -EACCES, "be root or in the group sluice",
		    "you may not use %s", connection->url);
	}
	if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST) {
		return connection_error(error, -ECONNREFUSED,
		    "is sluiced running? Start it with `systemctl start sluiced` or `sluiced "
		    "--data "
		    "DIR`, or name its address with --connect or SLUICE_URL",
		    "nobody answers at %s", connection->url);
	}
	if (code == CURLE_OPERATION_TIMEDOUT) {
		return connection_error(error, -ETIMEDOUT,
		    "what was asked for may still be done; look at `sluice status`",
		    "%s did not answer in time", connection->url);
	}
	if (code == CURLE_OUT_OF_MEMORY) {
		return no_memory(error);
	}
	return connection_error(error, -ECONNRESET,
	    "what was asked for may have been done; look at `sluice status`",
	    "the connection to %s broke: %s", connection->url, curl_easy_strerror(code));
}

/* "EBUSY" as -EBUSY. */
static int code_of(const char *name)
{
	for (int code = 1; name != NULL && code < 256; code++) {
		const char *known = strerrorname_np(code);

		if (known != NULL && strcmp(known, name) == 0) {
			return -code;
		}
	}
	return -EPROTO;
}

int connection_refusal(long status, const char *answer, struct sluice_error *error)
{
	json_t *document = json_loads(answer != NULL ? answer : "", 0, NULL);
	const char *code = NULL;
	const char *message = NULL;
	const char *hint = "";
	int rc;

	if (json_unpack(document, "{s:{s:s, s:s, s?s}}", "error", "code", &code, "message",
		&message, "hint", &hint) == 0) {
		rc = connection_error(error, code_of(code), hint, "%s", message);
	} else {
		rc = connection_error(error, -EPROTO, "is it sluiced that listens there?",
		    "the answer is not one of sluiced's (HTTP status %ld)", status);
	}
	if (error != NULL) {
		error->status = (int)status;
	}
	json_decref(document);
	return rc;
}

static size_t on_answer(char *data, size_t size, size_t count, void *arg)
{
	struct answer *answer = arg;
	size_t len = size * count;
	char *text;

	if (answer->len + len > ANSWER_MAX) {
		return 0;
	}
	text = realloc(answer->text, answer->len + len + 1);
	if (text == NULL) {
		return 0;
	}
	memcpy(text + answer->len, data, len);
	answer->text = text;
	answer->len += len;
	text[answer->len] = '\0';
	return len;
}

static int perform(
    struct sluice_connection *connection, struct answer *answer, struct sluice_error *error)
{
	CURLcode code;
	long status = 0;

	curl_easy_setopt(connection->curl, CURLOPT_WRITEFUNCTION, on_answer);
	curl_easy_setopt(connection->curl, CURLOPT_WRITEDATA, answer);
	curl_easy_setopt(connection->curl, CURLOPT_TIMEOUT_MS, (long)connection->timeout_ms);
	code = curl_easy_perform(connection->curl);
	if (code != CURLE_OK) {
		return connection_failure(connection, code, error);
	}
	curl_easy_getinfo(connection->curl, CURLINFO_RESPONSE_CODE, &status);
	return status >= 200 && status < 300 ? 0 : connection_refusal(status, answer->text, error);
}

SLUICE_API int sluice_call(struct sluice_connection *connection, const char *method,
    const char *path, const char *body, char **answer, struct sluice_error *error)
{
	struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
	struct answer got = {0};
	int rc = headers != NULL ? connection_prepare(connection, path, error) : no_memory(error);

	if (rc == 0) {
		curl_easy_setopt(connection->curl, CURLOPT_HTTPHEADER, headers);
		if (body != NULL || strcmp(method, "POST") == 0) {
			curl_easy_setopt(
			    connection->curl, CURLOPT_POSTFIELDS, body != NULL ? body : "");
		}
		curl_easy_setopt(connection->curl, CURLOPT_CUSTOMREQUEST, method);
		rc = perform(connection, &got, error);
	}
	curl_slist_free_all(headers);
	if (rc == 0 && answer != NULL) {
		*answer = got.text != NULL ? got.text : strdup("");
		return *answer != NULL ? 0 : no_memory(error);
	}
	free(got.text);
	return rc;
}

SLUICE_API int sluice_health(struct sluice_connection *connection, struct sluice_error *error)
{
	return sluice_call(connection, "GET", "/v1/health", NULL, NULL, error);
}
