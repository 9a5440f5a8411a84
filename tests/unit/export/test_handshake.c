#include "export/nbd/handshake.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"

static struct nbd_offer offers[2];

static bool find(void *ctx, struct nbd_string name, struct nbd_offer *ret_offer)
{
	for (size_t i = 0; i < ARRAY_SIZE(offers); i++) {
		if (nbd_string_equal(offers[i].name, name)) {
			*ret_offer = offers[i];
			return true;
		}
	}
	return false;
}

static bool at(void *ctx, unsigned index, struct nbd_offer *ret_offer)
{
	if (index >= ARRAY_SIZE(offers)) {
		return false;
	}
	*ret_offer = offers[index];
	return true;
}

static const struct nbd_catalog catalog = {find, at, NULL};

static int setup(void **state)
{
	struct nbd_handshake *h = malloc(sizeof(*h));

	offers[0] = (struct nbd_offer){
	    nbd_string_of(""), nbd_string_of("first"), 1 << 20, NBD_FLAG_HAS_FLAGS, 512, 4096};
	offers[1] = (struct nbd_offer){nbd_string_of("vol"), nbd_string_of(""), 2 << 20,
	    NBD_FLAG_HAS_FLAGS | NBD_FLAG_READ_ONLY, 4096, 65536};
	nbd_handshake_init(h, &catalog);
	*state = h;
	return 0;
}

static int teardown(void **state)
{
	nbd_handshake_fini(*state);
	free(*state);
	return 0;
}

/* What the client sends; bytes_at() of what it gets. */
struct script {
	uint8_t bytes[64 << 10];
	size_t length;
};

static void put(struct script *s, const void *bytes, size_t length)
{
	assert_true(s->length + length <= sizeof(s->bytes));
	memcpy(s->bytes + s->length, bytes, length);
	s->length += length;
}

static void put32(struct script *s, uint32_t v)
{
	uint8_t bytes[4];

	store_be32(bytes, v);
	put(s, bytes, sizeof(bytes));
}

static void put_string(struct script *s, const char *text)
{
	put32(s, (uint32_t)strlen(text));
	put(s, text, strlen(text));
}

static void put_header(struct script *s, uint32_t option, uint32_t length)
{
	put(s, "IHAVEOPT", 8);
	put32(s, option);
	put32(s, length);
}

static void put_option(struct script *s, uint32_t option, const void *data, uint32_t length)
{
	put_header(s, option, length);
	put(s, data, length);
}

static void put_info(struct script *s, uint32_t option, const char *name, bool block_size)
{
	put_header(s, option, 4 + (uint32_t)strlen(name) + 2 + (block_size ? 2 : 0));
	put_string(s, name);
	put(s, block_size ? "\0\1\0\3" : "\0\0", block_size ? 4 : 2);
}

static void put_meta(struct script *s, uint32_t option, const char *name, const char *query)
{
	put_header(s, option,
	    8 + (uint32_t)strlen(name) + (query != NULL ? 4 + (uint32_t)strlen(query) : 0));
	put_string(s, name);
	put32(s, query != NULL);
	if (query != NULL) {
		put_string(s, query);
	}
}

/* Feeds the script in pieces of `piece` bytes, as a socket might. */
static void feed(struct nbd_handshake *h, const struct script *s, size_t piece)
{
	size_t begin = 0;
	size_t end = 0;

	while (end < s->length) {
		size_t used;

		end = MIN(end + piece, s->length);
		do {
			used = nbd_handshake_step(h, s->bytes + begin, end - begin);
			assert_true(used <= end - begin);
			begin += used;
		} while (used > 0);
	}
}

static void start(struct nbd_handshake *h, uint32_t flags)
{
	struct script s = {.length = 0};

	assert_int_equal(h->answer.length, NBD_GREETING_BYTES);
	assert_memory_equal(h->answer.bytes, "NBDMAGICIHAVEOPT\0\3", NBD_GREETING_BYTES);
	h->answer.length = 0;
	put32(&s, flags);
	feed(h, &s, 4);
	assert_int_equal(h->state, NBD_HANDSHAKE_OPTION);
}

static void run(struct nbd_handshake *h, const struct script *s)
{
	h->answer.length = 0;
	feed(h, s, s->length);
}

/* Checks the reply at *at and moves behind it; returns its data. */
static const uint8_t *expect_reply(
    const struct nbd_handshake *h, size_t *at_byte, uint32_t option, uint32_t type)
{
	const uint8_t *p = h->answer.bytes + *at_byte;

	assert_true(*at_byte + NBD_OPTION_REPLY_BYTES <= h->answer.length);
	assert_int_equal(load_be64(p), NBD_MAGIC_OPTION_REPLY);
	assert_int_equal(load_be32(p + 8), option);
	assert_int_equal(load_be32(p + 12), type);
	*at_byte += NBD_OPTION_REPLY_BYTES + load_be32(p + 16);
	assert_true(*at_byte <= h->answer.length);
	return p + NBD_OPTION_REPLY_BYTES;
}

static void expect_only(const struct nbd_handshake *h, uint32_t option, uint32_t type)
{
	size_t at_byte = 0;

	expect_reply(h, &at_byte, option, type);
	assert_int_equal(at_byte, h->answer.length);
}

static void export_name_gets_size_flags_and_zeroes(void **state)
{
	struct nbd_handshake *h = *state;
	struct script s = {.length = 0};

	start(h, NBD_FLAG_FIXED_NEWSTYLE);
	put_option(&s, NBD_OPT_EXPORT_NAME, "vol", 3);
	run(h, &s);
	assert_int_equal(h->state, NBD_HANDSHAKE_CHOSEN);
	assert_int_equal(h->answer.length, 10 + 124);
	assert_int_equal(load_be64(h->answer.bytes), 2 << 20);
	assert_int_equal(load_be16(h->answer.bytes + 8), offers[1].flags);
	assert_int_equal(h->name_length, 3);
	assert_memory_equal(h->name, "vol", 3);
}

static void export_name_without_zeroes_is_ten_bytes(void **state)
{
	struct nbd_handshake *h = *state;
	struct script s = {.length = 0};

	start(h, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
	put_option(&s, NBD_OPT_EXPORT_NAME, "", 0);
	run(h, &s);
	assert_int_equal(h->state, NBD_HANDSHAKE_CHOSEN);
	assert_int_equal(h->answer.length, 10);
}

static void unknown_export_name_ends_the_session(void **state)
{
	struct nbd_handshake *h = *state;
	struct script s = {.length = 0};

	start(h, NBD_FLAG_FIXED_NEWSTYLE);
	put_option(&s, NBD_OPT_EXPORT_NAME, "nope", 4);
	run(h, &s);
	assert_int_equal(h->state, NBD_HANDSHAKE_BROKEN);
	assert_int_equal(h->answer.length, 0);
}

static void go_tells_of_the_export_and_begins_transmission(void **state)
{
	struct nbd_handshake *h = *state;
	struct script s = {.length = 0};
	const uint8_t *data;
	size_t at_byte = 0;

	start(h, NBD_FLAG_FIXED_NEWSTYLE);
	put_info(&s, NBD_OPT_GO, "vol", true);
	run(h, &s);
	data = expect_reply(h, &at_byte, NBD_OPT_GO, NBD_REP_INFO);
	assert_int_equal(load_be16(data), NBD_INFO_EXPORT);
	assert_int_equal(load_be64(data + 2), 2 << 20);
	data = expect_reply(h, &at_byte, NBD_OPT_GO, NBD_REP_INFO);
	assert_int_equal(load_be16(data), NBD_INFO_BLOCK_SIZE);
	assert_int_equal(load_be32(data + 2), 4096);
	assert_int_equal(load_be32(data + 6), 65536);
	assert_int_equal(load_be32(data + 10), NBD_PAYLOAD_MAX);
	expect_reply(h, &at_byte, NBD_OPT_GO, NBD_REP_ACK);
	assert_int_equal(at_byte, h->answer.length);
	assert_int_equal(h->state, NBD_HANDSHAKE_CHOSEN);
	assert_false(h->structured);
}

static void info_of_an_unknown_export_is_an_error_and_haggling_goes_on(void **state)
{
	struct nbd_handshake *h = *state;
	struct script s = {.length = 0};

	start(h, NBD_FLAG_FIXED_NEWSTYLE);
	put_info(&s, NBD_OPT_GO, "nope", false);
	run(h, &s);
	expect_only(h, NBD_OPT_GO, NBD_REP_ERR_UNKNOWN);
	assert_int_equal(h->state, NBD_HANDSHAKE_OPTION);
}

static void df_is_offered_only_with_structured_replies(void **state)
{
	struct nbd_handshake *h = *state;
	struct script s = {.length = 0};
	size_t at_byte = 0;

	start(h, NBD_FLAG_FIXED_NEWSTYLE);
	put_info(&s, NBD_OPT_INFO, "vol", false);
	put_option(&s, NBD_OPT_STRUCTURED_REPLY, "", 0);
	put_info(&s, NBD_OPT_INFO, "vol", false);
	run(h, &s);
	assert_int_equal(load_be16(expect_reply(h, &at_byte, NBD_OPT_INFO, NBD_REP_INFO) + 10) &
			     NBD_FLAG_SEND_DF,
	    0);
	expect_reply(h, &at_byte, NBD_OPT_INFO, NBD_REP_ACK);
	expect_reply(h, &at_byte, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK);
	assert_int_not_equal(load_be16(expect_reply(h, &at_byte, NBD_OPT_INFO, NBD_REP_INFO) + 10) &
				 NBD_FLAG_SEND_DF,
	    0);
}

static void list_names_every_export(void **state)
{
	struct nbd_handshake *h = *state;
	struct script s = {.length = 0};
	const uint8_t *data;
	size_t at_byte = 0;

	start(h, NBD_FLAG_FIXED_NEWSTYLE);
	put_option(&s, NBD_OPT_LIST, "", 0);
	run(h, &s);
	data = expect_reply(h, &at_byte, NBD_OPT_LIST, NBD_REP_SERVER);
	assert_memory_equal(data, "\0\0\0\0first", 9);
	data = expect_reply(h, &at_byte, NBD_OPT_LIST, NBD_REP_SERVER);
	assert_memory_equal(data, "\0\0\0\3vol", 7);
	expect_reply(h, &at_byte, NBD_OPT_LIST, NBD_REP_ACK);
	assert_int_equal(at_byte, h->answer.length);
}

static void options_without_data_refuse_data(void **state)
{
	static const uint32_t options[] = {
	    NBD_OPT_LIST, NBD_OPT_STARTTLS, NBD_OPT_STRUCTURED_REPLY};
	struct nbd_handshake *h = *state;

	start(h, NBD_FLAG_FIXED_NEWSTYLE);
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		struct script s = {.length = 0};

		put_option(&s, options[i], "x", 1);
		run(h, &s);
		expect_only(h, options[i], NBD_REP_ERR_INVALID);
	}
	assert_false(h->structured);
}

static void tls_and_unknown_options_are_unsupported(void **state)
{
	static const uint32_t options[] = {NBD_OPT_STARTTLS, 4, 11, 0, UINT32_MAX};
	struct nbd_handshake *h = *state;

	start(h, NBD_FLAG_FIXED_NEWSTYLE);
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		struct script s = {.length = 0};

		put_option(&s, options[i], "", 0);
		run(h, &s);
		expect_only(h, options[i], NBD_REP_ERR_UNSUP);
	}
}

static void abort_is_acknowledged(void **state)
{
	struct nbd_handshake *h = *state;
	struct script s = {.length = 0};

	start(h, NBD_FLAG_FIXED_NEWSTYLE);
	put_option(&s, NBD_OPT_ABORT, "", 0);
	run(h, &s);
	expect_only(h, NBD_OPT_ABORT, NBD_REP_ACK);
	assert_int_equal(h->state, NBD_HANDSHAKE_ABORTED);
}

static void contexts_need_structured_replies(void **state)
{
	struct nbd_handshake *h = *state;
	struct script s = {.length = 0};

	start(h, NBD_FLAG_FIXED_NEWSTYLE);
	put_meta(&s, NBD_OPT_SET_META_CONTEXT, "vol", NBD_CONTEXT_ALLOCATION);
	run(h, &s);
	expect_only(h, NBD_OPT_SET_META_CONTEXT, NBD_REP_ERR_INVALID);
}

static void start_structured(struct nbd_handshake *h)
{
	struct script s = {.length = 0};

	start(h, NBD_FLAG_FIXED_NEWSTYLE);
	put_option(&s, NBD_OPT_STRUCTURED_REPLY, "", 0);
	run(h, &s);
	expect_only(h, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK);
}

static void allocation_counts_for_the_export_it_was_set_for(void **state)
{
	struct nbd_handshake *h = *state;
	struct script set = {.length = 0};
	struct script go = {.length = 0};
	size_t at_byte = 0;

	start_structured(h);
	put_meta(&set, NBD_OPT_SET_META_CONTEXT, "vol", NBD_CONTEXT_ALLOCATION);
	run(h, &set);
	assert_memory_equal(
	    expect_reply(h, &at_byte, NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT),
	    "\0\0\0\1base:allocation", 19);
	expect_reply(h, &at_byte, NBD_OPT_SET_META_CONTEXT, NBD_REP_ACK);
	put_info(&go, NBD_OPT_GO, "vol", false);
	run(h, &go);
	assert_int_equal(h->state, NBD_HANDSHAKE_CHOSEN);
	assert_true(h->allocation);
}

static void allocation_is_lost_when_another_export_is_chosen(void **state)
{
	struct nbd_handshake *h = *state;
	struct script s = {.length = 0};

	start_structured(h);
	put_meta(&s, NBD_OPT_SET_META_CONTEXT, "vol", NBD_CONTEXT_ALLOCATION);
	put_info(&s, NBD_OPT_GO, "", false);
	run(h, &s);
	assert_int_equal(h->state, NBD_HANDSHAKE_CHOSEN);
	assert_false(h->allocation);
}

static void failed_set_forgets_what_was_set(void **state)
{
	struct nbd_handshake *h = *state;
	struct script s = {.length = 0};

	start_structured(h);
	put_meta(&s, NBD_OPT_SET_META_CONTEXT, "vol", NBD_CONTEXT_ALLOCATION);
	put_option(&s, NBD_OPT_SET_META_CONTEXT, "\0\0", 2);
	put_info(&s, NBD_OPT_GO, "vol", false);
	run(h, &s);
	assert_int_equal(h->state, NBD_HANDSHAKE_CHOSEN);
	assert_false(h->allocation);
}

/* "The base: metadata namespace" */
static void wildcards_list_but_do_not_select(void **state)
{
	static const struct {
		uint32_t option;
		const char *query;
		bool found;
	} cases[] = {
	    {NBD_OPT_LIST_META_CONTEXT, NULL, true},
	    {NBD_OPT_LIST_META_CONTEXT, "base:", true},
	    {NBD_OPT_LIST_META_CONTEXT, "base:allocation", true},
	    {NBD_OPT_LIST_META_CONTEXT, "qemu:", false},
	    {NBD_OPT_SET_META_CONTEXT, NULL, false},
	    {NBD_OPT_SET_META_CONTEXT, "base:", false},
	    {NBD_OPT_SET_META_CONTEXT, "base:other", false},
	    {NBD_OPT_SET_META_CONTEXT, "base:allocation", true},
	};
	struct nbd_handshake *h = *state;

	start_structured(h);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct script s = {.length = 0};
		size_t at_byte = 0;

		put_meta(&s, cases[i].option, "vol", cases[i].query);
		run(h, &s);
		if (cases[i].found) {
			expect_reply(h, &at_byte, cases[i].option, NBD_REP_META_CONTEXT);
		}
		expect_reply(h, &at_byte, cases[i].option, NBD_REP_ACK);
		assert_int_equal(at_byte, h->answer.length);
	}
}

static void bytes_may_come_one_by_one(void **state)
{
	struct nbd_handshake *h = *state;
	struct script s = {.length = 0};

	put32(&s, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
	put_option(&s, NBD_OPT_STRUCTURED_REPLY, "", 0);
	put_meta(&s, NBD_OPT_SET_META_CONTEXT, "vol", NBD_CONTEXT_ALLOCATION);
	put_info(&s, NBD_OPT_GO, "vol", true);
	feed(h, &s, 1);
	assert_int_equal(h->state, NBD_HANDSHAKE_CHOSEN);
	assert_true(h->structured && h->allocation && h->no_zeroes);
}

static void too_long_option_is_skipped_and_answered(void **state)
{
	struct nbd_handshake *h = *state;
	struct script s = {.length = 0};
	size_t at_byte = 0;

	start(h, NBD_FLAG_FIXED_NEWSTYLE);
	put_header(&s, NBD_OPT_INFO, NBD_OPTION_LENGTH_MAX + 1);
	memset(s.bytes + s.length, 'x', NBD_OPTION_LENGTH_MAX + 1);
	s.length += NBD_OPTION_LENGTH_MAX + 1;
	put_option(&s, NBD_OPT_LIST, "x", 1);
	h->answer.length = 0;
	feed(h, &s, 1000);
	expect_reply(h, &at_byte, NBD_OPT_INFO, NBD_REP_ERR_TOO_BIG);
	expect_reply(h, &at_byte, NBD_OPT_LIST, NBD_REP_ERR_INVALID);
}

static void absurd_length_garbage_and_endless_haggling_end_the_session(void **state)
{
	struct nbd_handshake *h = *state;
	struct script s = {.length = 0};

	start(h, NBD_FLAG_FIXED_NEWSTYLE);
	put_header(&s, NBD_OPT_INFO, UINT32_MAX);
	run(h, &s);
	assert_int_equal(h->state, NBD_HANDSHAKE_BROKEN);

	nbd_handshake_fini(h);
	nbd_handshake_init(h, &catalog);
	start(h, NBD_FLAG_FIXED_NEWSTYLE);
	s.length = 0;
	put(&s, "GET / HTTP/1.1", 14);
	run(h, &s);
	assert_int_equal(h->state, NBD_HANDSHAKE_BROKEN);

	nbd_handshake_fini(h);
	nbd_handshake_init(h, &catalog);
	start(h, NBD_FLAG_FIXED_NEWSTYLE);
	s.length = 0;
	put_option(&s, NBD_OPT_STRUCTURED_REPLY, "", 0);
	for (unsigned i = 0; i < NBD_HANDSHAKE_OPTIONS_MAX; i++) {
		assert_int_equal(h->state, NBD_HANDSHAKE_OPTION);
		run(h, &s);
	}
	run(h, &s);
	assert_int_equal(h->state, NBD_HANDSHAKE_BROKEN);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(export_name_gets_size_flags_and_zeroes),
	    TEST(export_name_without_zeroes_is_ten_bytes),
	    TEST(unknown_export_name_ends_the_session),
	    TEST(go_tells_of_the_export_and_begins_transmission),
	    TEST(info_of_an_unknown_export_is_an_error_and_haggling_goes_on),
	    TEST(df_is_offered_only_with_structured_replies),
	    TEST(list_names_every_export),
	    TEST(options_without_data_refuse_data),
	    TEST(tls_and_unknown_options_are_unsupported),
	    TEST(abort_is_acknowledged),
	    TEST(contexts_need_structured_replies),
	    TEST(allocation_counts_for_the_export_it_was_set_for),
	    TEST(allocation_is_lost_when_another_export_is_chosen),
	    TEST(failed_set_forgets_what_was_set),
	    TEST(wildcards_list_but_do_not_select),
	    TEST(bytes_may_come_one_by_one),
	    TEST(too_long_option_is_skipped_and_answered),
	    TEST(absurd_length_garbage_and_endless_haggling_end_the_session),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
