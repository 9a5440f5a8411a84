/*
 * The server's side of the NBD handshake, without a socket: bytes of the client in, bytes for the
 * client out ("Fixed newstyle negotiation"). What a client can make it do is bounded: the number of
 * options, their length, and what it answers to each.
 *
 * Pure but for the memory of the answer; any thread.
 */
#pragma once

#include "export/nbd/wire.h"

#define NBD_HANDSHAKE_OPTIONS_MAX 1024u
#define NBD_OPTION_LENGTH_MAX (16u << 10) /* longer ones are skipped and answered with TOO_BIG */
#define NBD_OPTION_SKIP_MAX (1u << 20)	  /* still longer ones end the session */

/* What a client is told of an export. */
struct nbd_offer {
	struct nbd_string name;
	struct nbd_string description; /* may be empty */
	uint64_t size;		       /* bytes */
	uint16_t flags;		       /* transmission flags; DF is added where it applies */
	uint32_t block_size;	       /* bytes: minimum and preferred */
	uint32_t preferred_size;
};

/* The exports that can be chosen. Both fill *ret_offer and return true if there is one. */
struct nbd_catalog {
	/* The export of that name. */
	bool (*find)(void *ctx, struct nbd_string name, struct nbd_offer *ret_offer);
	/* The index-th export, for LIST. */
	bool (*at)(void *ctx, unsigned index, struct nbd_offer *ret_offer);
	void *ctx;
};

/* What goes to the client. Grows as needed; failed is set when memory is out. */
struct nbd_answer {
	uint8_t *bytes; /* owned */
	size_t length;
	size_t room;
	bool failed;
};
void nbd_answer_append(struct nbd_answer *a, const void *bytes, size_t length);
void nbd_answer_fini(struct nbd_answer *a);

enum nbd_handshake_state {
	NBD_HANDSHAKE_FLAGS,   /* waits for the client flags */
	NBD_HANDSHAKE_OPTION,  /* waits for an option */
	NBD_HANDSHAKE_SKIP,    /* skips the data of an option that was too long */
	NBD_HANDSHAKE_CHOSEN,  /* send the answer, then serve the export called name */
	NBD_HANDSHAKE_ABORTED, /* send the answer, then close */
	NBD_HANDSHAKE_BROKEN,  /* close at once; why says why */
};

struct nbd_handshake {
	const struct nbd_catalog *catalog;
	struct nbd_answer answer; /* to be sent, and emptied, by the owner */
	enum nbd_handshake_state state;
	const char *why; /* BROKEN: for people */
	bool no_zeroes;
	bool structured; /* structured replies were negotiated */
	bool allocation; /* base:allocation was selected for the chosen export */
	bool meta_set;
	unsigned options;
	uint32_t skip;
	struct nbd_option skipped;
	uint32_t name_length; /* CHOSEN */
	uint32_t meta_name_length;
	uint8_t name[NBD_STRING_MAX];
	uint8_t meta_name[NBD_STRING_MAX]; /* the export that meta_set is about */
};

/* The answer then holds the greeting. */
void nbd_handshake_init(struct nbd_handshake *h, const struct nbd_catalog *catalog);
void nbd_handshake_fini(struct nbd_handshake *h);
/*
 * Takes at most one message off the bytes. Returns how many it took; 0 when it needs more, or when
 * the state is one of the last three.
 */
size_t nbd_handshake_step(struct nbd_handshake *h, const uint8_t *data, size_t len);
