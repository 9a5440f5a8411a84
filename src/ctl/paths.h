/*
 * What paths.c offers to the LUs that own paths. For src/ctl only; control loop.
 */
#pragma once

#include <stdio.h>

#include "ctl/ctl_private.h"

/* Makes the path and begins to open it. */
int ctl_path_make(struct ctl_lu *lu, struct ctl_interface *via, const json_t *address,
    struct ctl_path **ret_path, struct error *err);
/* Takes it out of the model at once; ended(ctx) when its session is closed. ended may be NULL. */
void ctl_path_end(struct ctl_path *p, void (*ended)(void *ctx), void *ctx);
const char *ctl_path_key(char *buf, const struct ctl_path *p);
/* From the parameters kind and address, and via: NULL when the request was refused. */
const struct lu_driver *ctl_want_driver(struct ctl_request *req, const char *fallback);
struct ctl_interface *ctl_want_via(struct ctl_request *req, const struct lu_driver *driver);

/* A request that fails once something has been taken down. */
struct ctl_path_failure {
	struct ctl_request *req;
	struct error err;
};
