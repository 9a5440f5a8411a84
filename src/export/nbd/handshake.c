#include "export/nbd/handshake.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

void nbd_answer_append(struct nbd_answer *a, const void *bytes, size_t length)
{
	if (a->room - a->length < length) {
		size_t room = MAX(2 * a->room, a->length + length + 256);
		uint8_t *grown = realloc(a->bytes, room);

		if (grown == NULL) {
			a->failed = true;
			return;
		}
		a->bytes = grown;
		a->room = room;
	}
	if (length > 0) {
		memcpy(a->bytes + a->length, bytes, length);
		a->length += length;
	}
}

void nbd_answer_fini(struct nbd_answer *a)
{
	free(a->bytes);
	*a = (struct nbd_answer){0};
}

static void append_string(struct nbd_answer *a, struct nbd_string s)
{
	nbd_answer_append(a, s.bytes, s.length);
}

void nbd_handshake_init(struct nbd_handshake *h, const struct nbd_catalog *catalog)
{
	uint8_t greeting[NBD_GREETING_BYTES];

	memset(h, 0, offsetof(struct nbd_handshake, name));
	h->catalog = catalog;
	h->state = NBD_HANDSHAKE_FLAGS;
	nbd_wire_put_greeting(greeting);
	nbd_answer_append(&h->answer, greeting, sizeof(greeting));
}

void nbd_handshake_fini(struct nbd_handshake *h)
{
	nbd_answer_fini(&h->answer);
}

static void break_off(struct nbd_handshake *h, const char *why)
{
	h->state = NBD_HANDSHAKE_BROKEN;
	h->why = why;
}

static void reply(struct nbd_handshake *h, uint32_t option, uint32_t type, uint32_t length)
{
	uint8_t header[NBD_OPTION_REPLY_BYTES];

	nbd_wire_put_option_reply(header, option, type, length);
	nbd_answer_append(&h->answer, header, sizeof(header));
}

/* All error replies may carry a text for people ("Option reply types"). */
static void reply_error(struct nbd_handshake *h, uint32_t option, uint32_t type, const char *text)
{
	reply(h, option, type, (uint32_t)strlen(text));
	nbd_answer_append(&h->answer, text, strlen(text));
}

static void reply_ack(struct nbd_handshake *h, uint32_t option)
{
	reply(h, option, NBD_REP_ACK, 0);
}

static uint16_t transmission_flags(const struct nbd_handshake *h, const struct nbd_offer *offer)
{
	/* "Transmission flags": DF must be clear unless structured replies were negotiated. */
	return offer->flags | (h->structured ? NBD_FLAG_SEND_DF : 0);
}

/* The client goes to transmission; metadata contexts count for the export they were set for. */
static void choose(struct nbd_handshake *h, struct nbd_string name)
{
	struct nbd_string meta = {h->meta_name, h->meta_name_length};

	h->allocation = h->meta_set && nbd_string_equal(meta, name);
	memcpy(h->name, name.bytes, name.length);
	h->name_length = name.length;
	h->state = NBD_HANDSHAKE_CHOSEN;
}

/* NBD_OPT_EXPORT_NAME: has no way to say no but to hang up. */
static void on_export_name(struct nbd_handshake *h, struct nbd_string name)
{
	static const uint8_t zeroes[124];
	struct nbd_offer offer;
	uint8_t out[10];

	if (name.length > NBD_STRING_MAX || !h->catalog->find(h->catalog->ctx, name, &offer)) {
		break_off(h, "client asked for an export that is not there");
		return;
	}
	store_be64(out, offer.size);
	store_be16(out + 8, transmission_flags(h, &offer));
	nbd_answer_append(&h->answer, out, sizeof(out));
	if (!h->no_zeroes) {
		nbd_answer_append(&h->answer, zeroes, sizeof(zeroes));
	}
	choose(h, name);
}

/* NBD_OPT_LIST */
static void on_list(struct nbd_handshake *h)
{
	struct nbd_offer offer;

	for (unsigned i = 0; h->catalog->at(h->catalog->ctx, i, &offer); i++) {
		uint8_t length[4];

		store_be32(length, offer.name.length);
		reply(h, NBD_OPT_LIST, NBD_REP_SERVER,
		    4 + offer.name.length + offer.description.length);
		nbd_answer_append(&h->answer, length, sizeof(length));
		append_string(&h->answer, offer.name);
		append_string(&h->answer, offer.description);
	}
	reply_ack(h, NBD_OPT_LIST);
}

static void reply_info(
    struct nbd_handshake *h, uint32_t option, const void *payload, uint32_t length)
{
	reply(h, option, NBD_REP_INFO, length);
	nbd_answer_append(&h->answer, payload, length);
}

static void reply_info_string(
    struct nbd_handshake *h, uint32_t option, uint16_t type, struct nbd_string text)
{
	uint8_t out[2];

	store_be16(out, type);
	reply(h, option, NBD_REP_INFO, 2 + text.length);
	nbd_answer_append(&h->answer, out, sizeof(out));
	append_string(&h->answer, text);
}

static void reply_info_block_size(
    struct nbd_handshake *h, uint32_t option, const struct nbd_offer *offer)
{
	uint8_t out[14];

	store_be16(out, NBD_INFO_BLOCK_SIZE);
	store_be32(out + 2, offer->block_size);
	store_be32(out + 6, offer->preferred_size);
	store_be32(out + 10, NBD_PAYLOAD_MAX);
	reply_info(h, option, out, sizeof(out));
}

/* NBD_OPT_INFO and NBD_OPT_GO */
static void on_info(struct nbd_handshake *h, uint32_t option, const uint8_t *data, size_t len)
{
	struct nbd_info_request request;
	struct nbd_offer offer;
	uint8_t out[12];

	if (nbd_wire_read_info(data, len, &request) < 0) {
		reply_error(h, option, NBD_REP_ERR_INVALID, "malformed request for information");
		return;
	}
	if (!h->catalog->find(h->catalog->ctx, request.name, &offer)) {
		reply_error(h, option, NBD_REP_ERR_UNKNOWN, "no export of that name");
		return;
	}
	store_be16(out, NBD_INFO_EXPORT);
	store_be64(out + 2, offer.size);
	store_be16(out + 10, transmission_flags(h, &offer));
	reply_info(h, option, out, sizeof(out));
	if (nbd_wire_info_wants(&request, NBD_INFO_NAME)) {
		reply_info_string(h, option, NBD_INFO_NAME, offer.name);
	}
	if (nbd_wire_info_wants(&request, NBD_INFO_DESCRIPTION) && offer.description.length > 0) {
		reply_info_string(h, option, NBD_INFO_DESCRIPTION, offer.description);
	}
	if (nbd_wire_info_wants(&request, NBD_INFO_BLOCK_SIZE)) {
		reply_info_block_size(h, option, &offer);
	}
	reply_ack(h, option);
	if (option == NBD_OPT_GO) {
		choose(h, request.name);
	}
}

/*
 * "The base: metadata namespace": LIST takes "base:" as a wildcard, SET ignores it; other
 * namespaces select nothing.
 */
static bool selects_allocation(const struct nbd_meta_request *request, bool list)
{
	const uint8_t *cursor = request->queries;

	for (uint32_t i = 0; i < request->count; i++) {
		struct nbd_string query = nbd_wire_next_query(&cursor);

		if (nbd_string_equal(query, nbd_string_of(NBD_CONTEXT_ALLOCATION)) ||
		    (list && nbd_string_equal(query, nbd_string_of("base:")))) {
			return true;
		}
	}
	return list && request->count == 0;
}

static void reply_context(struct nbd_handshake *h, uint32_t option, uint32_t id)
{
	struct nbd_string context = nbd_string_of(NBD_CONTEXT_ALLOCATION);
	uint8_t out[4];

	store_be32(out, id);
	reply(h, option, NBD_REP_META_CONTEXT, sizeof(out) + context.length);
	nbd_answer_append(&h->answer, out, sizeof(out));
	append_string(&h->answer, context);
}

/* NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT */
static void on_meta(struct nbd_handshake *h, uint32_t option, const uint8_t *data, size_t len)
{
	bool list = option == NBD_OPT_LIST_META_CONTEXT;
	struct nbd_meta_request request;
	struct nbd_offer offer;

	if (!list) {
		h->meta_set = false; /* replaces all that was set, also when it fails */
	}
	if (!h->structured) {
		reply_error(h, option, NBD_REP_ERR_INVALID, "negotiate structured replies first");
		return;
	}
	if (nbd_wire_read_meta(data, len, &request) < 0) {
		reply_error(h, option, NBD_REP_ERR_INVALID, "malformed query of contexts");
		return;
	}
	if (!h->catalog->find(h->catalog->ctx, request.name, &offer)) {
		reply_error(h, option, NBD_REP_ERR_UNKNOWN, "no export of that name");
		return;
	}
	if (selects_allocation(&request, list)) {
		reply_context(h, option, list ? 0 : NBD_CONTEXT_ALLOCATION_ID);
		if (!list) {
			h->meta_set = true;
			memcpy(h->meta_name, request.name.bytes, request.name.length);
			h->meta_name_length = request.name.length;
		}
	}
	reply_ack(h, option);
}

/* Options that must come without data: answers the ones that do not, and returns false. */
static bool without_data(struct nbd_handshake *h, uint32_t option, size_t len)
{
	if (len != 0) {
		reply_error(h, option, NBD_REP_ERR_INVALID, "this option has no data");
		return false;
	}
	return true;
}

static void on_option(struct nbd_handshake *h, uint32_t option, const uint8_t *data, size_t len)
{
	switch (option) {
	case NBD_OPT_EXPORT_NAME:
		on_export_name(h, (struct nbd_string){data, (uint32_t)len});
		break;
	case NBD_OPT_ABORT:
		reply_ack(h, option);
		h->state = NBD_HANDSHAKE_ABORTED;
		break;
	case NBD_OPT_LIST:
		if (without_data(h, option, len)) {
			on_list(h);
		}
		break;
	case NBD_OPT_STARTTLS: /* "NOTLS mode" */
		if (without_data(h, option, len)) {
			reply_error(h, option, NBD_REP_ERR_UNSUP, "this server does not speak TLS");
		}
		break;
	case NBD_OPT_INFO:
	case NBD_OPT_GO:
		on_info(h, option, data, len);
		break;
	case NBD_OPT_STRUCTURED_REPLY:
		if (without_data(h, option, len)) {
			h->structured = true;
			reply_ack(h, option);
		}
		break;
	case NBD_OPT_LIST_META_CONTEXT:
	case NBD_OPT_SET_META_CONTEXT:
		on_meta(h, option, data, len);
		break;
	default: /* a number from outside */
		reply_error(h, option, NBD_REP_ERR_UNSUP, "unknown option");
		break;
	}
}

static size_t take_flags(struct nbd_handshake *h, const uint8_t *data, size_t len)
{
	uint32_t flags;
	int used = nbd_wire_read_client_flags(data, len, &flags);

	if (used < 0) {
		break_off(h, "client broke the protocol: unknown client flags");
		return 0;
	}
	if (used > 0) {
		h->no_zeroes = (flags & NBD_FLAG_NO_ZEROES) != 0;
		h->state = NBD_HANDSHAKE_OPTION;
	}
	return (size_t)used;
}

static size_t begin_skip(struct nbd_handshake *h, struct nbd_option option)
{
	if (option.length > NBD_OPTION_SKIP_MAX || option.option == NBD_OPT_EXPORT_NAME) {
		break_off(h, "client broke the protocol: option too long");
		return 0;
	}
	h->state = NBD_HANDSHAKE_SKIP;
	h->skip = option.length;
	h->skipped = option;
	return NBD_OPTION_BYTES;
}

static size_t take_skip(struct nbd_handshake *h, size_t len)
{
	size_t used = MIN(len, h->skip);

	h->skip -= (uint32_t)used;
	if (h->skip == 0) {
		h->state = NBD_HANDSHAKE_OPTION;
		reply_error(h, h->skipped.option, NBD_REP_ERR_TOO_BIG, "option too long");
	}
	return used;
}

static size_t take_option(struct nbd_handshake *h, const uint8_t *data, size_t len)
{
	struct nbd_option option;
	int used = nbd_wire_read_option(data, len, &option);

	if (used < 0) {
		break_off(h, "client broke the protocol: not an option");
		return 0;
	}
	if (used == 0) {
		return 0;
	}
	if (option.length <= NBD_OPTION_LENGTH_MAX && len - (size_t)used < option.length) {
		return 0;
	}
	if (++h->options > NBD_HANDSHAKE_OPTIONS_MAX) {
		break_off(h, "client did not come to an end with its options");
		return 0;
	}
	if (option.length > NBD_OPTION_LENGTH_MAX) {
		return begin_skip(h, option);
	}
	on_option(h, option.option, data + used, option.length);
	return (size_t)used + option.length;
}

size_t nbd_handshake_step(struct nbd_handshake *h, const uint8_t *data, size_t len)
{
	size_t used = 0;

	switch (h->state) {
	case NBD_HANDSHAKE_FLAGS:
		used = take_flags(h, data, len);
		break;
	case NBD_HANDSHAKE_OPTION:
		used = take_option(h, data, len);
		break;
	case NBD_HANDSHAKE_SKIP:
		used = take_skip(h, len);
		break;
	case NBD_HANDSHAKE_CHOSEN:
	case NBD_HANDSHAKE_ABORTED:
	case NBD_HANDSHAKE_BROKEN:
		break;
	}
	if (h->answer.failed && h->state != NBD_HANDSHAKE_BROKEN) {
		break_off(h, "out of memory");
	}
	return used;
}
