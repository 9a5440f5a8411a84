#include "lu/fingerprint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lu/errand.h"

#define RANDOM_BLOCKS 14
#define RECENT_BLOCKS 16
#define MAX_BLOCKS (2 + RANDOM_BLOCKS + RECENT_BLOCKS)
#define MIN_BLOCK_SIZE 4096u

/* While others write, both reads of a block may straddle a write. What differs and keeps both its
 * contents over so many reads, with a pause between them, is a difference. */
#define STABLE_READS 4
#define MAX_ROUNDS 16
#define ROUND_PAUSE_NS (20 * NS_PER_MS)

struct fingerprint_block {
	uint64_t offset;
	unsigned char *data_a;
	unsigned char *data_b;
	uint64_t hash_a; /* of the round before */
	uint64_t hash_b;
	unsigned stable; /* rounds in a row with the same two contents */
	bool settled;	 /* equal, or never at rest */
	struct errand errand_a;
	struct errand errand_b;
};

struct fingerprint {
	struct lu *lu;
	struct fingerprint_params params;
	uint32_t block_size;
	unsigned nr_blocks;
	unsigned away; /* errands */
	unsigned round;
	bool answered;
	struct error outcome;
	struct reactor_timer deadline;
	struct reactor_timer pause;
	unsigned char *memory;
	struct fingerprint_block blocks[MAX_BLOCKS];
};

static void fingerprint_free(struct fingerprint *f)
{
	reactor_timer_cancel(lu_control(f->lu), &f->deadline);
	reactor_timer_cancel(lu_control(f->lu), &f->pause);
	carrier_let_go(f->params.a);
	if (f->params.b != NULL) {
		carrier_let_go(f->params.b);
	}
	free(f->memory);
	free(f);
}

/* Answers once; the struct goes when the last errand is back. */
static void finish(struct fingerprint *f)
{
	bool was_answered = f->answered;

	f->answered = true;
	if (!was_answered) {
		f->params.done(f->params.ctx, f->outcome.code != 0 ? &f->outcome : NULL);
	}
	if (f->away == 0) {
		fingerprint_free(f);
	}
}

/* FNV-1a: only told apart from its own past, so it needs no key. */
static uint64_t hash(const unsigned char *data, uint32_t length)
{
	uint64_t h = 14695981039346656037ull;

	for (uint32_t i = 0; i < length; i++) {
		h = (h ^ data[i]) * 1099511628211ull;
	}
	return h;
}

/* -- one round -- */

static void take_errors(struct fingerprint *f, const struct errand *e)
{
	char what[256];

	if (e->io.status == 0 || f->outcome.code != 0) {
		return;
	}
	if (e->carrier->path != NULL) {
		lu_path_describe(e->carrier->path, what, sizeof(what));
	} else {
		what[0] = '\0';
	}
	error_set(&f->outcome, e->io.status, "cannot read the block at offset %llu of %s: %s",
	    (unsigned long long)e->io.offset, what, strerror(-e->io.status));
}

static void differs(struct fingerprint *f, const struct fingerprint_block *b)
{
	error_set(&f->outcome, -ESTALE, "other data: the block at offset %llu differs",
	    (unsigned long long)b->offset);
	error_hint(&f->outcome, "point the path to the storage that the LU's other paths lead to");
}

static void judge(struct fingerprint *f, struct fingerprint_block *b)
{
	uint64_t hash_a;
	uint64_t hash_b;

	if (f->params.b == NULL || memcmp(b->data_a, b->data_b, f->block_size) == 0) {
		b->settled = true;
		return;
	}
	hash_a = hash(b->data_a, f->block_size);
	hash_b = hash(b->data_b, f->block_size);
	b->stable = b->hash_a == hash_a && b->hash_b == hash_b ? b->stable + 1 : 1;
	b->hash_a = hash_a;
	b->hash_b = hash_b;
	if (f->params.quiet || b->stable >= STABLE_READS) {
		differs(f, b);
	}
}

static bool unreadable(const struct errand *e)
{
	return e->io.status != 0 && !io_status_is_transport(e->io.status);
}

/*
 * A path that fails some reads must not keep the other one out: while there is time, a block that
 * either of the two did not give is read again.
 */
static bool try_again(const struct fingerprint *f, const struct fingerprint_block *b)
{
	return f->params.b != NULL && !f->params.quiet && f->round + 1 < MAX_ROUNDS &&
	       (unreadable(&b->errand_a) || unreadable(&b->errand_b));
}

static void take_round(struct fingerprint *f, struct fingerprint_block *b)
{
	if (b->settled || try_again(f, b)) {
		return;
	}
	take_errors(f, &b->errand_a);
	take_errors(f, &b->errand_b);
	if (f->outcome.code == 0) {
		judge(f, b);
	}
}

static void round_done(struct fingerprint *f)
{
	bool settled = true;

	for (unsigned i = 0; i < f->nr_blocks && f->outcome.code == 0; i++) {
		take_round(f, &f->blocks[i]);
		settled = settled && f->blocks[i].settled;
	}
	if (f->answered || f->outcome.code != 0 || settled || ++f->round >= MAX_ROUNDS) {
		finish(f);
		return;
	}
	reactor_timer_arm(lu_control(f->lu), &f->pause, ROUND_PAUSE_NS);
}

static void on_errand(struct errand *e)
{
	struct fingerprint *f = e->owner;

	if (--f->away == 0) {
		round_done(f);
	}
}

static void start_read(struct fingerprint *f, struct fingerprint_block *b, bool second)
{
	struct errand_request request = {
	    .op = IO_READ,
	    .offset = b->offset,
	    .buffer = second ? b->data_b : b->data_a,
	    .length = f->block_size,
	};

	f->away++;
	errand_start(second ? &b->errand_b : &b->errand_a, second ? f->params.b : f->params.a, 0,
	    &request, on_errand, f);
}

static void start_round(struct fingerprint *f)
{
	for (unsigned i = 0; i < f->nr_blocks; i++) {
		if (!f->blocks[i].settled) {
			start_read(f, &f->blocks[i], false);
			if (f->params.b != NULL) {
				start_read(f, &f->blocks[i], true);
			}
		}
	}
}

static void on_pause(struct reactor_timer *t)
{
	start_round(container_of(t, struct fingerprint, pause));
}

static void on_deadline(struct reactor_timer *t)
{
	struct fingerprint *f = container_of(t, struct fingerprint, deadline);

	if (f->nr_blocks > 0) {
		error_set(&f->outcome, -ETIMEDOUT, "no answer to the reads of the check in time");
	}
	reactor_timer_cancel(lu_control(f->lu), &f->pause);
	finish(f);
}

/* -- choosing the blocks -- */

static void add_block(struct fingerprint *f, uint64_t offset)
{
	offset -= offset % f->block_size;
	if (f->nr_blocks == MAX_BLOCKS || offset + f->block_size > f->lu->size) {
		return;
	}
	for (unsigned i = 0; i < f->nr_blocks; i++) {
		if (f->blocks[i].offset == offset) {
			return;
		}
	}
	f->blocks[f->nr_blocks++].offset = offset;
}

static void add_recent(struct fingerprint *f)
{
	struct lu *lu = f->lu;

	list_for_each (pos, &lu->routes) {
		struct lu_route *r = list_entry(pos, struct lu_route, link);

		for (unsigned i = 0; i < lu->group->nr_data * LU_RECENT_WRITES; i++) {
			uint64_t at = counter_read(
			    &r->channels[i / LU_RECENT_WRITES].recent[i % LU_RECENT_WRITES]);

			if (at != 0) {
				add_block(f, at - 1);
			}
		}
	}
}

static void choose_blocks(struct fingerprint *f)
{
	uint64_t nr = f->lu->size / f->block_size;

	if (nr == 0) {
		return;
	}
	add_block(f, 0);
	add_block(f, f->lu->size - f->block_size);
	for (unsigned i = 0; i < RANDOM_BLOCKS; i++) {
		add_block(f, prng_below(&f->lu->prng, nr) * f->block_size);
	}
	add_recent(f);
}

/* b may belong to another LU, with blocks of its own. */
static uint32_t choose_block_size(const struct lu *lu, const struct fingerprint_params *params)
{
	uint32_t least = lu->limits.block_size;

	if (params->b != NULL) {
		least = MAX(least, params->b->lu->limits.block_size);
	}
	return lu->size < MIN_BLOCK_SIZE ? least : MAX(least, MIN_BLOCK_SIZE);
}

int fingerprint_start(
    struct lu *lu, const struct fingerprint_params *params, struct fingerprint **ret_fingerprint)
{
	struct fingerprint *f = calloc(1, sizeof(*f));
	uint32_t block_size = choose_block_size(lu, params);

	if (f == NULL) {
		return -ENOMEM;
	}
	f->memory =
	    aligned_alloc(MIN_BLOCK_SIZE, ALIGN_UP(2ull * MAX_BLOCKS * block_size, MIN_BLOCK_SIZE));
	if (f->memory == NULL) {
		free(f);
		return -ENOMEM;
	}
	f->lu = lu;
	f->params = *params;
	f->block_size = block_size;
	choose_blocks(f);
	for (unsigned i = 0; i < f->nr_blocks; i++) {
		f->blocks[i].data_a = f->memory + 2ull * i * block_size;
		f->blocks[i].data_b = f->blocks[i].data_a + block_size;
	}
	reactor_timer_init(&f->deadline, on_deadline);
	reactor_timer_init(&f->pause, on_pause);
	reactor_timer_arm(lu_control(lu), &f->deadline, f->nr_blocks > 0 ? params->timeout_ns : 0);
	carrier_hold(params->a);
	if (params->b != NULL) {
		carrier_hold(params->b);
	}
	start_round(f);
	*ret_fingerprint = f;
	return 0;
}

void fingerprint_cancel(struct fingerprint *f)
{
	if (f != NULL && !f->answered) {
		f->answered = true;
		reactor_timer_cancel(lu_control(f->lu), &f->pause);
		reactor_timer_cancel(lu_control(f->lu), &f->deadline);
		finish(f);
	}
}
