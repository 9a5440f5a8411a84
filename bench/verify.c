#include "verify.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int verify_init(struct verify *v, uint32_t block, uint64_t nr_blocks)
{
	*v = (struct verify){.block = block, .nr_blocks = nr_blocks};
	v->generation = calloc(nr_blocks, sizeof(*v->generation));
	v->busy = calloc(nr_blocks, sizeof(*v->busy));
	if (v->generation == NULL || v->busy == NULL) {
		verify_fini(v);
		return -ENOMEM;
	}
	return 0;
}

void verify_fini(struct verify *v)
{
	free(v->generation);
	free(v->busy);
	*v = (struct verify){0};
}

uint64_t verify_take(struct verify *v, uint64_t wanted)
{
	while (v->busy[wanted]) {
		wanted = (wanted + 1) % v->nr_blocks;
	}
	v->busy[wanted] = true;
	return wanted;
}

void verify_put(struct verify *v, uint64_t block)
{
	v->busy[block] = false;
}

/* The eight bytes at an aligned offset of the export. */
static uint64_t pattern(uint64_t offset, uint32_t generation)
{
	uint64_t x = (offset ^ ((uint64_t)generation << 44)) * 0x9e3779b97f4a7c15ull + 1;

	return x ^ (x >> 29);
}

void verify_fill(struct verify *v, uint64_t block, void *out)
{
	uint32_t generation = ++v->generation[block];
	uint64_t offset = block * v->block;
	uint64_t *words = out;

	for (uint32_t i = 0; i < v->block / 8; i++) {
		words[i] = pattern(offset + i * 8ull, generation);
	}
}

void verify_check(struct verify *v, uint64_t offset, const void *data, uint32_t len)
{
	static const char zeros[8];
	uint32_t generation = v->generation[offset / v->block];
	const char *p = data;

	while (len > 0) {
		uint64_t word = pattern(ALIGN_DOWN(offset, 8), generation);
		uint32_t skip = offset % 8;
		uint32_t n = MIN(8 - skip, len);

		if (memcmp((const char *)&word + skip, p != NULL ? p : zeros, n) != 0) {
			v->mismatches++;
			return;
		}
		p = p != NULL ? p + n : NULL;
		offset += n;
		len -= n;
	}
}
