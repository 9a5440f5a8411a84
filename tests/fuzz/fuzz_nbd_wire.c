/*
 * The NBD wire: the first byte chooses between a whole handshake, fed in pieces, and a stream of
 * requests; what is decoded is used, so that a sanitizer sees every byte that it points to.
 */
#include <stdlib.h>
#include <string.h>

#include "export/nbd/handshake.h"

static bool find(void *ctx, struct nbd_string name, struct nbd_offer *ret_offer)
{
	if (name.length > 3) {
		return false;
	}
	*ret_offer = (struct nbd_offer){
	    .name = name,
	    .description = nbd_string_of("description"),
	    .size = 1 << 30,
	    .flags = NBD_FLAG_HAS_FLAGS,
	    .block_size = 512,
	    .preferred_size = 4096,
	};
	return true;
}

static bool at(void *ctx, unsigned index, struct nbd_offer *ret_offer)
{
	return index < 3 && find(ctx, nbd_string_of("vol"), ret_offer);
}

static void handshake(const uint8_t *data, size_t size, size_t piece)
{
	static const struct nbd_catalog catalog = {find, at, NULL};
	struct nbd_handshake *h = malloc(sizeof(*h));
	size_t begin = 0;
	size_t end = 0;

	if (h == NULL) {
		return;
	}
	nbd_handshake_init(h, &catalog);
	while (end < size) {
		size_t used;

		end = MIN(end + piece, size);
		do {
			used = nbd_handshake_step(h, data + begin, end - begin);
			sluice_assert(used <= end - begin);
			begin += used;
			h->answer.length = 0;
		} while (used > 0);
	}
	sluice_assert(h->state != NBD_HANDSHAKE_CHOSEN || h->name_length <= 3);
	sluice_assert((h->state == NBD_HANDSHAKE_BROKEN) == (h->why != NULL));
	nbd_handshake_fini(h);
	free(h);
}

static void requests(const uint8_t *data, size_t size)
{
	struct nbd_message message;
	int used;

	while ((used = nbd_wire_read_message(data, size, &message)) > 0) {
		uint8_t again[NBD_REQUEST_BYTES];

		nbd_wire_put_message(again, &message);
		sluice_assert(memcmp(again, data, sizeof(again)) == 0);
		data += used;
		size -= (size_t)used;
	}
}

static void metadata(const uint8_t *data, size_t size)
{
	struct nbd_meta_request request;
	const uint8_t *cursor;
	unsigned bytes = 0;

	if (nbd_wire_read_meta(data, size, &request) < 0) {
		return;
	}
	cursor = request.queries;
	for (uint32_t i = 0; i < request.count; i++) {
		struct nbd_string query = nbd_wire_next_query(&cursor);

		for (uint32_t k = 0; k < query.length; k++) {
			bytes += query.bytes[k];
		}
	}
	sluice_assert(cursor == data + size);
	(void)bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0) {
		return 0;
	}
	switch (data[0] % 4) {
	case 0:
		requests(data + 1, size - 1);
		break;
	case 1:
		metadata(data + 1, size - 1);
		break;
	default: /* 0 mod 4 and 1 mod 4 are above */
		handshake(data + 1, size - 1, (size_t)data[0] / 4 + 1);
		break;
	}
	return 0;
}
