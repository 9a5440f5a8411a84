/*
 * Aligned request buffers of a reactor, in size classes from 4 KiB to 32 MiB (powers of two), kept
 * for re-use up to a bound and given back to the system beyond it. Memory is page-aligned, so it
 * suits O_DIRECT.
 *
 * Thread rule: the reactor that the pool was made for.
 */
#pragma once

#include "base/macros.h"

#define BUFFER_MAX_SIZE (32u << 20)
#define BUFFER_ALIGNMENT 4096u

struct buffer_pool;

/* keep_bytes: free memory kept for re-use. -ENOMEM. */
int buffer_pool_new(uint64_t keep_bytes, struct buffer_pool **ret_pool);
void buffer_pool_free(struct buffer_pool *pool);
/* size in bytes, <= BUFFER_MAX_SIZE; NULL when memory is out. */
void *buffer_get(struct buffer_pool *pool, uint32_t size);
/* The size given to buffer_get(). NULL is fine. */
void buffer_put(struct buffer_pool *pool, void *buffer, uint32_t size);
/* Bytes handed out, and bytes kept. */
uint64_t buffer_pool_used(const struct buffer_pool *pool);
uint64_t buffer_pool_kept(const struct buffer_pool *pool);

/* The pool of the reactor whose thread this is; made at first use, freed with the reactor. */
struct buffer_pool *buffer_pool_current(void);
