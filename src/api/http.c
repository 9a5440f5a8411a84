/*
 * One HTTP request after the other: its bytes are gathered and decoded on the listener's thread,
 * the connection is suspended while the control loop has it, and resumed with the answer.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "api/api_private.h"
#include "api/decode.h"
#include "base/log.h"

#define IDLE_TIMEOUT_S 30
#define CONNECTION_MEMORY (32u << 10)
#define JSON_TYPE "application/json"
#define EVENTS_PATH "/v1/events"

struct http_call;

/* Belongs to the listener's thread; answer and status are written by the control loop, under the
 * lock, while the connection is suspended. */
struct http_request {
	struct api_listener *listener;
	struct MHD_Connection *connection;
	char *uri; /* path and query as sent */
	bool begun;
	bool routed;
	bool events;
	struct decode_target target;
	char *body;
	size_t body_len;
	struct http_call *call;
	unsigned status; /* 0: no answer yet */
	const char *content_type;
	char *answer; /* malloc'd */
};

/* A request on its way through ctl. It outlives the request when the API stops first. */
struct http_call {
	struct api_job job;
	struct list link; /* api->calls while request is set */
	struct api *api;
	struct http_request *request; /* under lock; NULL: nobody waits any more */
	enum ctl_op op;
	json_t *params;
};

/* -- answers */

static unsigned status_of(int code)
{
	static const struct {
		int code;
		unsigned status;
	} table[] = {
	    {EINVAL, MHD_HTTP_BAD_REQUEST},
	    {EACCES, MHD_HTTP_FORBIDDEN},
	    {EPERM, MHD_HTTP_FORBIDDEN},
	    {ENOENT, MHD_HTTP_NOT_FOUND},
	    {EEXIST, MHD_HTTP_CONFLICT},
	    {EBUSY, MHD_HTTP_CONFLICT},
	    {EALREADY, MHD_HTTP_CONFLICT},
	    {E2BIG, MHD_HTTP_CONTENT_TOO_LARGE},
	    {EOPNOTSUPP, MHD_HTTP_NOT_IMPLEMENTED},
	    {ESHUTDOWN, MHD_HTTP_SERVICE_UNAVAILABLE},
	    {EAGAIN, MHD_HTTP_SERVICE_UNAVAILABLE},
	    {ENOSPC, MHD_HTTP_INSUFFICIENT_STORAGE},
	    {ETIMEDOUT, MHD_HTTP_GATEWAY_TIMEOUT},
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (table[i].code == -code) {
			return table[i].status;
		}
	}
	return MHD_HTTP_INTERNAL_SERVER_ERROR;
}

static char *error_text(const struct error *err)
{
	const char *code = strerrorname_np(-err->code);
	json_t *document = json_pack("{s:{s:s, s:s, s:s}}", "error", "code",
	    code != NULL ? code : "EIO", "message", err->message, "hint", err->hint);
	char *text;

	/* A message that quotes bytes of a client need not be UTF-8. */
	if (document == NULL) {
		document = json_pack("{s:{s:s, s:s, s:s}}", "error", "code",
		    code != NULL ? code : "EIO", "message", "the request is not valid", "hint", "");
	}
	text = json_dumps(document, JSON_COMPACT);
	json_decref(document);
	return text;
}

enum MHD_Result http_send(struct MHD_Connection *connection, unsigned status, const char *type,
    const char *allow, char *text_consumed)
{
	struct MHD_Response *response;
	enum MHD_Result rc;

	if (text_consumed == NULL) {
		return MHD_NO;
	}
	response = MHD_create_response_from_buffer(
	    strlen(text_consumed), text_consumed, MHD_RESPMEM_MUST_FREE);
	if (response == NULL) {
		free(text_consumed);
		return MHD_NO;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	if (allow != NULL) {
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, allow);
	}
	rc = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return rc;
}

enum MHD_Result http_send_error(struct MHD_Connection *connection, const struct error *err)
{
	return http_send(connection, status_of(err->code), JSON_TYPE, NULL, error_text(err));
}

static enum MHD_Result refuse(
    struct MHD_Connection *connection, int code, const char *message, const char *hint)
{
	struct error err;

	error_set(&err, code, "%s", message);
	error_hint(&err, "%s", hint);
	return http_send_error(connection, &err);
}

/* RFC 9110 section 15.5.6: the methods that are allowed come along. */
static enum MHD_Result refuse_method(struct MHD_Connection *connection, const char *allow)
{
	struct error err;

	error_set(&err, -EINVAL, "this method is not known here");
	error_hint(&err, "use %s", allow);
	return http_send(
	    connection, MHD_HTTP_METHOD_NOT_ALLOWED, JSON_TYPE, allow, error_text(&err));
}

/* -- the way through ctl */

/* Control loop, lock held. text is NULL when memory is out: the connection is then closed. */
static void answer_call(
    struct http_call *call, unsigned status, const char *type, char *text_consumed)
{
	struct http_request *request = call->request;

	if (request == NULL) {
		free(text_consumed);
		return;
	}
	request->status = status;
	request->content_type = type;
	request->answer = text_consumed;
	request->call = NULL;
	call->request = NULL;
	list_remove(&call->link);
	MHD_resume_connection(request->connection);
}

static char *result_text(enum ctl_op op, const json_t *result)
{
	return op == CTL_METRICS ? strdup(json_string_value(result))
				 : json_dumps(result, JSON_COMPACT);
}

static void call_done(void *arg, json_t *result, const struct error *err)
{
	struct http_call *call = arg;
	bool waiting;
	char *text;

	/* Without a request the API is gone: its lock too. */
	waiting = call->request != NULL;
	if (waiting) {
		text = result != NULL ? result_text(call->op, result) : error_text(err);
		pthread_mutex_lock(&call->api->lock);
		answer_call(call, result != NULL ? MHD_HTTP_OK : status_of(err->code),
		    call->op == CTL_METRICS && result != NULL
			? "text/plain; version=0.0.4; charset=utf-8"
			: JSON_TYPE,
		    text);
		pthread_mutex_unlock(&call->api->lock);
	}
	json_decref(result);
	free(call);
}

/* Control loop. */
static void call_run(struct api_job *job, bool stopping)
{
	struct http_call *call = container_of(job, struct http_call, job);
	json_t *params = call->params;
	struct error err;

	call->params = NULL;
	if (!stopping) {
		ctl_call(call->api->ctl, call->op, params, call_done, call);
		return;
	}
	error_set(&err, -ESHUTDOWN, "the daemon is stopping");
	answer_call(call, status_of(err.code), JSON_TYPE, error_text(&err));
	json_decref(params);
	free(call);
}

void http_abort_calls(struct api *api)
{
	struct error err;

	error_set(&err, -ESHUTDOWN, "the daemon is stopping");
	error_hint(&err, "what was asked for may still be done; look again when it is back");
	list_for_each_safe (node, &api->calls) {
		struct http_call *call = list_entry(node, struct http_call, link);

		answer_call(call, status_of(err.code), JSON_TYPE, error_text(&err));
	}
}

/* Hands the request over and suspends the connection until it is answered. */
static enum MHD_Result start_call(struct http_request *request)
{
	struct api *api = request->listener->api;
	struct http_call *call = calloc(1, sizeof(*call));
	enum MHD_Result rc = MHD_YES;

	if (call == NULL) {
		return MHD_NO;
	}
	call->job.run = call_run;
	call->api = api;
	call->op = request->target.op;
	call->request = request;
	pthread_mutex_lock(&api->lock);
	if (api->stopping) {
		free(call);
		rc = refuse(request->connection, -ESHUTDOWN, "the daemon is stopping", "");
	} else {
		call->params = request->target.params;
		request->target.params = NULL;
		request->call = call;
		list_append(&api->calls, &call->link);
		MHD_suspend_connection(request->connection);
		api_post(api, &call->job);
	}
	pthread_mutex_unlock(&api->lock);
	return rc;
}

/* -- requests */

/* The Host of a request to a loopback listener: something else means that a web page's name was
 * pointed at this machine. */
static bool host_is_loopback(const char *host)
{
	static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};

	for (size_t i = 0; host != NULL && i < ARRAY_SIZE(names); i++) {
		size_t len = strlen(names[i]);

		if (strncasecmp(host, names[i], len) == 0 &&
		    (host[len] == '\0' || host[len] == ':')) {
			return true;
		}
	}
	return false;
}

/* A browser on this machine reaches loopback too, so a page from elsewhere must not be able to
 * speak for the person in front of it. */
static bool from_elsewhere(const struct http_request *request)
{
	const char *origin = MHD_lookup_connection_value(
	    request->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ORIGIN);
	const char *host =
	    MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);

	if (request->listener->unix_path[0] != '\0') {
		return false;
	}
	if (!host_is_loopback(host)) {
		return true;
	}
	return origin != NULL &&
	       (strncmp(origin, "http://", 7) != 0 || strcmp(origin + 7, host) != 0);
}

static bool path_is_events(const char *uri)
{
	size_t len = strlen(EVENTS_PATH);

	return strncmp(uri, EVENTS_PATH, len) == 0 && (uri[len] == '\0' || uri[len] == '?');
}

/* The headers are here: what can be refused without the body is refused now. */
static enum MHD_Result request_begin(struct http_request *request, const char *method)
{
	struct MHD_Connection *c = request->connection;
	char allow[64];

	request->begun = true;
	if (from_elsewhere(request)) {
		return refuse(c, -EACCES, "this is a local API, not for pages from elsewhere",
		    "use the address that the daemon listens on");
	}
	if (request->uri == NULL || strlen(request->uri) > SCHEMA_URI_MAX) {
		return refuse(c, -EINVAL, "the URL is too long", "send at most 8 KiB");
	}
	if (path_is_events(request->uri)) {
		request->events = true;
		return strcmp(method, "GET") == 0 ? MHD_YES : refuse_method(c, "GET");
	}
	switch (decode_route(method, request->uri, &request->target, allow, sizeof(allow))) {
	case DECODE_UNKNOWN_PATH:
		return refuse(c, -ENOENT, "there is nothing at this path",
		    "see docs/openapi.json for the paths");
	case DECODE_WRONG_METHOD:
		return refuse_method(c, allow);
	case DECODE_FOUND:
		break;
	}
	request->routed = true;
	return MHD_YES;
}

/* MHD_NO closes the connection: a client that sends more than it may has nothing to say. */
static enum MHD_Result request_body(struct http_request *request, const char *data, size_t *len)
{
	char *body;

	if (request->body_len + *len > 2 * SCHEMA_BODY_MAX) {
		return MHD_NO;
	}
	body = realloc(request->body, request->body_len + *len);
	if (body == NULL) {
		return MHD_NO;
	}
	memcpy(body + request->body_len, data, *len);
	request->body = body;
	request->body_len += *len;
	*len = 0;
	return MHD_YES;
}

static enum MHD_Result start_events(struct http_request *request)
{
	json_t *params = json_object();
	struct error err;
	enum MHD_Result rc;

	if (decode_params(schema_event_fields(), request->uri, request->body, request->body_len,
		params, &err) != 0) {
		rc = http_send_error(request->connection, &err);
	} else {
		rc = sse_start(request->listener->api, request->connection, params);
	}
	json_decref(params);
	return rc;
}

/* All of it is here. */
static enum MHD_Result request_complete(struct http_request *request)
{
	struct error err;

	if (request->events) {
		return start_events(request);
	}
	if (!request->routed) {
		return MHD_NO;
	}
	if (decode_params(schema_op(request->target.op)->fields, request->uri, request->body,
		request->body_len, request->target.params, &err) != 0) {
		return http_send_error(request->connection, &err);
	}
	return start_call(request);
}

/* -- what libmicrohttpd calls, all on the listener's thread */

static void *on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
	struct http_request *request = calloc(1, sizeof(*request));

	if (request != NULL) {
		request->listener = cls;
		request->connection = connection;
		request->uri = strdup(uri);
	}
	return request;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
    const char *method, const char *version, const char *data, size_t *data_len, void **state)
{
	struct http_request *request = *state;
	struct api *api;
	char *answer;

	if (request == NULL) {
		return MHD_NO;
	}
	if (!request->begun) {
		return request_begin(request, method);
	}
	if (*data_len > 0) {
		return request_body(request, data, data_len);
	}
	api = request->listener->api;
	pthread_mutex_lock(&api->lock);
	answer = request->answer;
	request->answer = NULL;
	pthread_mutex_unlock(&api->lock);
	if (request->status != 0) {
		return http_send(connection, request->status, request->content_type, NULL, answer);
	}
	return request_complete(request);
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **state,
    enum MHD_RequestTerminationCode code)
{
	struct http_request *request = *state;

	if (request == NULL) {
		return;
	}
	sluice_assert(request->call == NULL);
	json_decref(request->target.params);
	free(request->answer);
	free(request->body);
	free(request->uri);
	free(request);
	*state = NULL;
}

/* The decoder does it, where its bounds and errors are. */
static size_t on_unescape(void *cls, struct MHD_Connection *connection, char *text)
{
	return strlen(text);
}

static void on_log(void *cls, const char *format, va_list args)
{
	char text[256];
	int n = vsnprintf(text, sizeof(text), format, args);

	if (n > 0) {
		text[strcspn(text, "\n")] = '\0';
		log_debug("api: %s", text);
	}
}

int http_start(struct api_listener *listener, int fd_consumed, struct error *err)
{
	const unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL |
			       MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;

	listener->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, listener,
	    MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET, fd_consumed,
	    MHD_OPTION_URI_LOG_CALLBACK, on_uri, listener, MHD_OPTION_NOTIFY_COMPLETED,
	    on_completed, NULL, MHD_OPTION_UNESCAPE_CALLBACK, on_unescape, NULL,
	    MHD_OPTION_CONNECTION_LIMIT, (unsigned)API_CONNECTIONS_MAX,
	    MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_TIMEOUT_S,
	    MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_END);
	if (listener->daemon == NULL) {
		close(fd_consumed);
		return error_set(err, -EIO, "the API cannot be served on %s", listener->address);
	}
	return 0;
}
