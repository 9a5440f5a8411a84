#include "export/nbd/wire.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

/* -- handshake -- */

int nbd_wire_read_client_flags(const uint8_t *data, size_t len, uint32_t *ret_flags)
{
	uint32_t flags;

	if (len < NBD_CLIENT_FLAGS_BYTES) {
		return 0;
	}
	flags = load_be32(data);
	if ((flags & ~(uint32_t)(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES)) != 0) {
		return -EPROTO;
	}
	*ret_flags = flags;
	return NBD_CLIENT_FLAGS_BYTES;
}

int nbd_wire_read_option(const uint8_t *data, size_t len, struct nbd_option *ret_option)
{
	/* Garbage is told from a slow client as soon as its first bytes are there. */
	static const uint8_t magic[8] = {'I', 'H', 'A', 'V', 'E', 'O', 'P', 'T'};

	if (memcmp(data, magic, MIN(len, sizeof(magic))) != 0) {
		return -EPROTO;
	}
	if (len < NBD_OPTION_BYTES) {
		return 0;
	}
	ret_option->option = load_be32(data + 8);
	ret_option->length = load_be32(data + 12);
	return NBD_OPTION_BYTES;
}

/* Takes a 32-bit length and a string of that length off *data. */
static int take_string(const uint8_t **data, size_t *len, struct nbd_string *ret_string)
{
	uint32_t length;

	if (*len < 4) {
		return -EINVAL;
	}
	length = load_be32(*data);
	if (length > NBD_STRING_MAX || length > *len - 4) {
		return -EINVAL;
	}
	*ret_string = (struct nbd_string){*data + 4, length};
	*data += 4 + (size_t)length;
	*len -= 4 + (size_t)length;
	return 0;
}

int nbd_wire_read_info(const uint8_t *data, size_t len, struct nbd_info_request *ret_request)
{
	size_t total = len;
	struct nbd_string name;
	uint16_t count;

	if (take_string(&data, &len, &name) != 0 || len < 2) {
		return -EINVAL;
	}
	count = load_be16(data);
	if (len - 2 != 2 * (size_t)count) {
		return -EINVAL;
	}
	*ret_request = (struct nbd_info_request){name, count, data + 2};
	return (int)total;
}

bool nbd_wire_info_wants(const struct nbd_info_request *request, uint16_t type)
{
	for (unsigned i = 0; i < request->count; i++) {
		if (load_be16(request->types + 2 * i) == type) {
			return true;
		}
	}
	return false;
}

int nbd_wire_read_meta(const uint8_t *data, size_t len, struct nbd_meta_request *ret_request)
{
	struct nbd_meta_request request;
	struct nbd_string query;
	size_t total = len;

	if (take_string(&data, &len, &request.name) != 0 || len < 4) {
		return -EINVAL;
	}
	request.count = load_be32(data);
	data += 4;
	len -= 4;
	request.queries = data;
	for (uint32_t i = 0; i < request.count; i++) {
		if (take_string(&data, &len, &query) != 0) {
			return -EINVAL;
		}
	}
	if (len != 0) {
		return -EINVAL;
	}
	*ret_request = request;
	return (int)total;
}

struct nbd_string nbd_wire_next_query(const uint8_t **cursor)
{
	struct nbd_string query = {*cursor + 4, load_be32(*cursor)};

	*cursor += 4 + (size_t)query.length;
	return query;
}

bool nbd_string_equal(struct nbd_string a, struct nbd_string b)
{
	return a.length == b.length && (a.length == 0 || memcmp(a.bytes, b.bytes, a.length) == 0);
}

struct nbd_string nbd_string_of(const char *text)
{
	return (struct nbd_string){(const uint8_t *)text, (uint32_t)strlen(text)};
}

void nbd_wire_put_greeting(uint8_t out[NBD_GREETING_BYTES])
{
	store_be64(out, NBD_MAGIC_INIT);
	store_be64(out + 8, NBD_MAGIC_OPTION);
	store_be16(out + 16, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
}

void nbd_wire_put_option_reply(
    uint8_t out[NBD_OPTION_REPLY_BYTES], uint32_t option, uint32_t type, uint32_t length)
{
	store_be64(out, NBD_MAGIC_OPTION_REPLY);
	store_be32(out + 8, option);
	store_be32(out + 12, type);
	store_be32(out + 16, length);
}

/* -- transmission -- */

int nbd_wire_read_message(const uint8_t *data, size_t len, struct nbd_message *ret_message)
{
	if (len < 4) {
		return 0;
	}
	if (load_be32(data) != NBD_MAGIC_REQUEST) {
		return -EPROTO;
	}
	if (len < NBD_REQUEST_BYTES) {
		return 0;
	}
	*ret_message = (struct nbd_message){
	    .flags = load_be16(data + 4),
	    .type = load_be16(data + 6),
	    .cookie = load_be64(data + 8),
	    .offset = load_be64(data + 16),
	    .length = load_be32(data + 24),
	};
	return NBD_REQUEST_BYTES;
}

void nbd_wire_put_message(uint8_t out[NBD_REQUEST_BYTES], const struct nbd_message *message)
{
	store_be32(out, NBD_MAGIC_REQUEST);
	store_be16(out + 4, message->flags);
	store_be16(out + 6, message->type);
	store_be64(out + 8, message->cookie);
	store_be64(out + 16, message->offset);
	store_be32(out + 24, message->length);
}

void nbd_wire_put_simple(uint8_t out[NBD_SIMPLE_BYTES], uint32_t error, uint64_t cookie)
{
	store_be32(out, NBD_MAGIC_SIMPLE);
	store_be32(out + 4, error);
	store_be64(out + 8, cookie);
}

void nbd_wire_put_chunk(
    uint8_t out[NBD_CHUNK_BYTES], uint16_t type, uint64_t cookie, uint32_t length)
{
	store_be32(out, NBD_MAGIC_CHUNK);
	store_be16(out + 4, NBD_REPLY_FLAG_DONE);
	store_be16(out + 6, type);
	store_be64(out + 8, cookie);
	store_be32(out + 16, length);
}

uint32_t nbd_wire_error(int status)
{
	switch (-status) {
	case 0:
		return 0;
	case EPERM:
	case EACCES:
	case EROFS:
		return NBD_EPERM;
	case ENOMEM:
		return NBD_ENOMEM;
	case EINVAL:
		return NBD_EINVAL;
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return NBD_ENOSPC;
	case EOVERFLOW:
		return NBD_EOVERFLOW;
	case EOPNOTSUPP:
		return NBD_ENOTSUP;
	default: /* errno is open-ended; ESHUTDOWN would make the client leave, and is a path's word
		    here */
		return NBD_EIO;
	}
}
