#include "reactor/buffer.h"

#include <errno.h>
#include <stdlib.h>

#define CLASSES 14 /* 4 KiB << 0 .. 4 KiB << 13 = 32 MiB */

struct free_buffer {
	struct free_buffer *next;
};

struct buffer_pool {
	struct free_buffer *free[CLASSES];
	uint64_t keep_bytes;
	uint64_t kept;
	uint64_t used;
};

static unsigned class_of(uint32_t size)
{
	sluice_assert(size > 0 && size <= BUFFER_MAX_SIZE);
	return size <= BUFFER_ALIGNMENT
		   ? 0
		   : 32u - (unsigned)__builtin_clz((size - 1) / BUFFER_ALIGNMENT);
}

static uint64_t class_bytes(unsigned c)
{
	return (uint64_t)BUFFER_ALIGNMENT << c;
}

int buffer_pool_new(uint64_t keep_bytes, struct buffer_pool **ret_pool)
{
	struct buffer_pool *pool = calloc(1, sizeof(*pool));

	if (pool == NULL) {
		return -ENOMEM;
	}
	pool->keep_bytes = keep_bytes;
	*ret_pool = pool;
	return 0;
}

void buffer_pool_free(struct buffer_pool *pool)
{
	if (pool == NULL) {
		return;
	}
	for (unsigned c = 0; c < CLASSES; c++) {
		while (pool->free[c] != NULL) {
			struct free_buffer *b = pool->free[c];

			pool->free[c] = b->next;
			free(b);
		}
	}
	free(pool);
}

void *buffer_get(struct buffer_pool *pool, uint32_t size)
{
	unsigned c = class_of(size);
	struct free_buffer *b = pool->free[c];

	if (b != NULL) {
		pool->free[c] = b->next;
		pool->kept -= class_bytes(c);
	} else {
		b = aligned_alloc(BUFFER_ALIGNMENT, class_bytes(c));
		if (b == NULL) {
			return NULL;
		}
	}
	pool->used += class_bytes(c);
	return b;
}

void buffer_put(struct buffer_pool *pool, void *buffer, uint32_t size)
{
	struct free_buffer *b = buffer;
	unsigned c;

	if (b == NULL) {
		return;
	}
	c = class_of(size);
	pool->used -= class_bytes(c);
	if (pool->kept + class_bytes(c) > pool->keep_bytes) {
		free(b);
		return;
	}
	b->next = pool->free[c];
	pool->free[c] = b;
	pool->kept += class_bytes(c);
}

uint64_t buffer_pool_used(const struct buffer_pool *pool)
{
	return pool->used;
}

uint64_t buffer_pool_kept(const struct buffer_pool *pool)
{
	return pool->kept;
}
