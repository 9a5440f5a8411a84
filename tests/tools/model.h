/*
 * What a disk must contain: a model of every block with the version written last, for loads that
 * verify each read. A block whose last write has no known outcome may hold the old or the new
 * content, one that was trimmed the old content or zeros; anything else is a mismatch.
 *
 * Thread rule: one thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct model_cell {
	uint32_t version; /* 0 = zeros */
	uint32_t other;	  /* may be there instead; equal to version when there is no doubt */
	bool maybe_zero;  /* trimmed since */
	bool unknown;	  /* more doubts than fit here: anything goes until the next change */
	bool writing;	  /* a request that changes it is in flight */
	uint16_t readers; /* reads in flight */
};

struct model {
	uint64_t seed;
	uint64_t first;	     /* block number on the disk of cells[0] */
	uint64_t count;	     /* blocks */
	uint32_t block_size; /* bytes, a multiple of 64 */
	struct model_cell *cells;
};

/* All zeros. Exits the program when memory is short. */
void model_init(
    struct model *m, uint64_t seed, uint64_t first, uint64_t count, uint32_t block_size);
void model_free(struct model *m);

/* The content of a block in a version, into data (block_size bytes). */
void model_fill(const struct model *m, uint64_t block, uint32_t version, unsigned char *data);
/* False: not what it must be; why says what was found. */
bool model_matches(
    const struct model *m, uint64_t block, const unsigned char *data, char *why, size_t why_len);

/* The blocks are free for a read, or for a request that changes them. */
bool model_may_read(const struct model *m, uint64_t block, uint64_t count);
bool model_may_change(const struct model *m, uint64_t block, uint64_t count);
void model_begin_read(struct model *m, uint64_t block, uint64_t count);
void model_end_read(struct model *m, uint64_t block, uint64_t count);
void model_begin_change(struct model *m, uint64_t block, uint64_t count);
/* The change has succeeded: version (0 = zeros) is what is there. */
void model_end_change(struct model *m, uint64_t block, uint64_t count, uint32_t version);
/* A cell has room for one doubt: whether a change of these blocks may end without a known outcome.
 */
bool model_may_doubt(const struct model *m, uint64_t block, uint64_t count);
/* Its outcome is unknown: old or new. */
void model_doubt_change(struct model *m, uint64_t block, uint64_t count, uint32_t version);
/* It was a trim: old or zeros. */
void model_end_trim(struct model *m, uint64_t block, uint64_t count);

/* Keeps the model in a file, so that another run can go on. Return 0 or a negative errno. */
int model_save(const struct model *m, const char *path);
int model_load(struct model *m, const char *path);
