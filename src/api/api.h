/*
 * The REST API: HTTP listeners, the hand-over of requests to the control loop, and the stream of
 * events.
 *
 * Thread rule: control loop. Each listener has a thread of its own, which parses and sends; it
 * never touches ctl.
 */
#pragma once

#include "ctl/ctl.h"
#include "reactor/reactor.h"

struct api;

/* Bounds of what clients can use. */
#define API_CONNECTIONS_MAX 256 /* per listener */
#define API_WATCHERS_MAX 64	/* event streams, all listeners together */

/*
 * addresses: each "unix:PATH" (0660, group `sluice` where it exists; the socket file of a dead
 * daemon is replaced, a live one is -EADDRINUSE) or "tcp:HOST:PORT" (IPv6 in brackets, port 0 =
 * any). Beyond loopback it refuses (-EACCES) until authentication exists. All of them listen, or
 * none does.
 */
int api_start(struct reactor *control, struct ctl *ctl, const char *const *addresses,
    size_t nr_addresses, struct api **ret_api, struct error *err);
/*
 * Answers what is still open with an error, closes every connection, and frees api. Call it while
 * ctl lives; calls into ctl that are not done yet may end later. A last message may be on its way
 * to the control loop: let it turn once more before it is freed. NULL is fine.
 */
void api_stop(struct api *api);
/* The address that listener i really has ("tcp:127.0.0.1:40123"); NULL past the end. */
const char *api_address(const struct api *api, size_t i);
