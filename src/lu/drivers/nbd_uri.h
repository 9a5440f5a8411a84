/*
 * NBD URIs (the NBD project's uri.md): nbd://host[:port]/export and
 * nbd+unix:///export?socket=path. Pure, any thread.
 */
#pragma once

#include "base/error.h"

struct nbd_uri {
	bool is_unix;
	char host[256];	  /* without brackets; TCP */
	char port[8];	  /* TCP; "10809" unless given */
	char socket[108]; /* UNIX, as in sockaddr_un */
	char export_name[4097];
};

int nbd_uri_parse(const char *text, struct nbd_uri *ret_uri, struct error *err);
