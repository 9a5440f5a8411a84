/*
 * The NBD wire format: numbers, decoders and encoders. Section names are those of the protocol
 * document (NetworkBlockDevice/nbd, doc/proto.md).
 *
 * A decoder is a pure function of the bytes: it returns the number of bytes that the message took,
 * 0 when it needs more, or a negative errno; outputs are untouched unless a message was found, and
 * point into the bytes. An encoder fills a fixed-size array or returns how much it wrote. Any
 * thread.
 */
#pragma once

#include "base/macros.h"

/* "Newstyle negotiation", "Fixed newstyle negotiation" */
#define NBD_MAGIC_INIT 0x4e42444d41474943ull   /* NBDMAGIC */
#define NBD_MAGIC_OPTION 0x49484156454f5054ull /* IHAVEOPT */
#define NBD_MAGIC_OPTION_REPLY 0x3e889045565a9ull
/* "Request message", "Simple reply message", "Structured reply chunk message" */
#define NBD_MAGIC_REQUEST 0x25609513u
#define NBD_MAGIC_SIMPLE 0x67446698u
#define NBD_MAGIC_CHUNK 0x668e33efu

#define NBD_STRING_MAX 4096u	    /* "Conventions": the longest string */
#define NBD_PAYLOAD_MAX (32u << 20) /* "Block size constraints": what every server should take */

/* "Handshake flags", "Client flags": the same bits both ways */
enum { NBD_FLAG_FIXED_NEWSTYLE = 1 << 0, NBD_FLAG_NO_ZEROES = 1 << 1 };

/* "Transmission flags" */
enum {
	NBD_FLAG_HAS_FLAGS = 1 << 0,
	NBD_FLAG_READ_ONLY = 1 << 1,
	NBD_FLAG_SEND_FLUSH = 1 << 2,
	NBD_FLAG_SEND_FUA = 1 << 3,
	NBD_FLAG_SEND_TRIM = 1 << 5,
	NBD_FLAG_SEND_WRITE_ZEROES = 1 << 6,
	NBD_FLAG_SEND_DF = 1 << 7,
	NBD_FLAG_CAN_MULTI_CONN = 1 << 8,
	NBD_FLAG_SEND_CACHE = 1 << 10,
	NBD_FLAG_SEND_FAST_ZERO = 1 << 11,
};

/* "Option types" */
enum {
	NBD_OPT_EXPORT_NAME = 1,
	NBD_OPT_ABORT = 2,
	NBD_OPT_LIST = 3,
	NBD_OPT_STARTTLS = 5,
	NBD_OPT_INFO = 6,
	NBD_OPT_GO = 7,
	NBD_OPT_STRUCTURED_REPLY = 8,
	NBD_OPT_LIST_META_CONTEXT = 9,
	NBD_OPT_SET_META_CONTEXT = 10,
};

/* "Option reply types" */
enum {
	NBD_REP_ACK = 1,
	NBD_REP_SERVER = 2,
	NBD_REP_INFO = 3,
	NBD_REP_META_CONTEXT = 4,
};
#define NBD_REP_ERR_UNSUP 0x80000001u
#define NBD_REP_ERR_INVALID 0x80000003u
#define NBD_REP_ERR_UNKNOWN 0x80000006u
#define NBD_REP_ERR_SHUTDOWN 0x80000007u
#define NBD_REP_ERR_TOO_BIG 0x80000009u

/* "NBD_INFO" types */
enum { NBD_INFO_EXPORT = 0, NBD_INFO_NAME = 1, NBD_INFO_DESCRIPTION = 2, NBD_INFO_BLOCK_SIZE = 3 };

/* "Request types" */
enum {
	NBD_CMD_READ = 0,
	NBD_CMD_WRITE = 1,
	NBD_CMD_DISC = 2,
	NBD_CMD_FLUSH = 3,
	NBD_CMD_TRIM = 4,
	NBD_CMD_CACHE = 5,
	NBD_CMD_WRITE_ZEROES = 6,
	NBD_CMD_BLOCK_STATUS = 7,
};

/* "Command flags" */
enum {
	NBD_CMD_FLAG_FUA = 1 << 0,
	NBD_CMD_FLAG_NO_HOLE = 1 << 1,
	NBD_CMD_FLAG_DF = 1 << 2,
	NBD_CMD_FLAG_REQ_ONE = 1 << 3,
	NBD_CMD_FLAG_FAST_ZERO = 1 << 4,
};

/* "Structured reply flags", "Structured reply types" */
#define NBD_REPLY_FLAG_DONE 1u
enum {
	NBD_REPLY_NONE = 0,
	NBD_REPLY_OFFSET_DATA = 1,
	NBD_REPLY_BLOCK_STATUS = 5,
	NBD_REPLY_ERROR = 0x8001,
};

/* "base:allocation metadata context" */
enum { NBD_STATE_HOLE = 1 << 0, NBD_STATE_ZERO = 1 << 1 };
#define NBD_CONTEXT_ALLOCATION "base:allocation"
#define NBD_CONTEXT_ALLOCATION_ID 1u

/* "Error values" */
enum {
	NBD_EPERM = 1,
	NBD_EIO = 5,
	NBD_ENOMEM = 12,
	NBD_EINVAL = 22,
	NBD_ENOSPC = 28,
	NBD_EOVERFLOW = 75,
	NBD_ENOTSUP = 95,
};

#define NBD_GREETING_BYTES 18u
#define NBD_CLIENT_FLAGS_BYTES 4u
#define NBD_OPTION_BYTES 16u
#define NBD_OPTION_REPLY_BYTES 20u
#define NBD_REQUEST_BYTES 28u
#define NBD_SIMPLE_BYTES 16u
#define NBD_CHUNK_BYTES 20u

/* -- handshake -- */

/* A string of the wire: not terminated, at most NBD_STRING_MAX bytes. */
struct nbd_string {
	const uint8_t *bytes;
	uint32_t length;
};

struct nbd_option {
	uint32_t option;
	uint32_t length; /* bytes of data that follow */
};

/* Data of NBD_OPT_INFO and NBD_OPT_GO. */
struct nbd_info_request {
	struct nbd_string name;
	uint16_t count;
	const uint8_t *types; /* 2 * count bytes */
};

/* Data of NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT. */
struct nbd_meta_request {
	struct nbd_string name;
	uint32_t count;
	const uint8_t *queries; /* checked: count times length and string */
};

/* "Client flags". -EPROTO: flags that were not offered. */
int nbd_wire_read_client_flags(const uint8_t *data, size_t len, uint32_t *ret_flags);
/* The 16 bytes before the data. -EPROTO: bad magic. */
int nbd_wire_read_option(const uint8_t *data, size_t len, struct nbd_option *ret_option);
/* Whole option data: the length is known, so there is no "need more"; -EINVAL unless all of it is
 * well-formed. */
int nbd_wire_read_info(const uint8_t *data, size_t len, struct nbd_info_request *ret_request);
int nbd_wire_read_meta(const uint8_t *data, size_t len, struct nbd_meta_request *ret_request);
bool nbd_wire_info_wants(const struct nbd_info_request *request, uint16_t type);
/* Walks the queries of a checked request: returns the one at *cursor (begin with
 * request->queries) and moves on. */
struct nbd_string nbd_wire_next_query(const uint8_t **cursor);
bool nbd_string_equal(struct nbd_string a, struct nbd_string b);
struct nbd_string nbd_string_of(const char *text);

void nbd_wire_put_greeting(uint8_t out[NBD_GREETING_BYTES]);
void nbd_wire_put_option_reply(
    uint8_t out[NBD_OPTION_REPLY_BYTES], uint32_t option, uint32_t type, uint32_t length);

/* -- transmission -- */

struct nbd_message {
	uint16_t flags;
	uint16_t type;
	uint64_t cookie;
	uint64_t offset;
	uint32_t length;
};

/* "Request message", without the payload of a write. -EPROTO: bad magic. */
int nbd_wire_read_message(const uint8_t *data, size_t len, struct nbd_message *ret_message);
void nbd_wire_put_message(uint8_t out[NBD_REQUEST_BYTES], const struct nbd_message *message);

void nbd_wire_put_simple(uint8_t out[NBD_SIMPLE_BYTES], uint32_t error, uint64_t cookie);
/* length: of the payload that follows the chunk's header. */
void nbd_wire_put_chunk(
    uint8_t out[NBD_CHUNK_BYTES], uint16_t type, uint64_t cookie, uint32_t length);
/* "Error values", for a negative errno. */
uint32_t nbd_wire_error(int status);
