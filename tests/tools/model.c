#include "model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* At the start of every block that is not zeros. */
struct block_header {
	uint64_t seed;
	uint64_t block;
	uint64_t version;
};

struct file_header {
	char magic[8];
	uint64_t seed;
	uint64_t first;
	uint64_t count;
	uint64_t block_size;
};

static const char file_magic[8] = "slmodel";

void model_init(struct model *m, uint64_t seed, uint64_t first, uint64_t count, uint32_t block_size)
{
	*m = (struct model){.seed = seed, .first = first, .count = count, .block_size = block_size};
	m->cells = calloc(count, sizeof(*m->cells));
	if (m->cells == NULL) {
		perror("model");
		exit(2);
	}
}

void model_free(struct model *m)
{
	free(m->cells);
	m->cells = NULL;
}

void model_fill(const struct model *m, uint64_t block, uint32_t version, unsigned char *data)
{
	struct block_header header = {m->seed, m->first + block, version};
	uint64_t word = m->seed ^ (m->first + block) * 0x9e3779b97f4a7c15ull ^
			(uint64_t)version * 0xd6e8feb86659fd93ull;

	if (version == 0) {
		memset(data, 0, m->block_size);
		return;
	}
	memcpy(data, &header, sizeof(header));
	for (size_t i = sizeof(header); i < m->block_size; i += sizeof(word)) {
		word = word * 6364136223846793005ull + 1442695040888963407ull;
		memcpy(data + i, &word, sizeof(word));
	}
}

static bool block_is(
    const struct model *m, uint64_t block, uint32_t version, const unsigned char *data)
{
	unsigned char expected[m->block_size];

	model_fill(m, block, version, expected);
	return memcmp(expected, data, m->block_size) == 0;
}

static void explain(
    const struct model *m, uint64_t block, const unsigned char *data, char *why, size_t why_len)
{
	const struct model_cell *cell = &m->cells[block];
	struct block_header found;
	const char *shape = "torn or foreign data";

	memcpy(&found, data, sizeof(found));
	if (block_is(m, block, 0, data)) {
		shape = "zeros";
	} else if (found.seed == m->seed && found.block == m->first + block &&
		   block_is(m, block, (uint32_t)found.version, data)) {
		shape = "a whole block of another version";
	} else if (found.seed == m->seed && found.block != m->first + block) {
		shape = "another block's data";
	}
	snprintf(why, why_len,
	    "block %llu (offset %llu) must be version %u%s (or %u): found %s, which says block "
	    "%llu "
	    "version %llu",
	    (unsigned long long)(m->first + block),
	    (unsigned long long)((m->first + block) * m->block_size), cell->version,
	    cell->maybe_zero ? " or zeros" : "", cell->other, shape,
	    (unsigned long long)found.block, (unsigned long long)found.version);
}

bool model_matches(
    const struct model *m, uint64_t block, const unsigned char *data, char *why, size_t why_len)
{
	const struct model_cell *cell = &m->cells[block];

	if (cell->unknown || block_is(m, block, cell->version, data)) {
		return true;
	}
	if (cell->other != cell->version && block_is(m, block, cell->other, data)) {
		return true;
	}
	if (cell->maybe_zero && block_is(m, block, 0, data)) {
		return true;
	}
	explain(m, block, data, why, why_len);
	return false;
}

bool model_may_read(const struct model *m, uint64_t block, uint64_t count)
{
	for (uint64_t i = block; i < block + count; i++) {
		if (m->cells[i].writing) {
			return false;
		}
	}
	return true;
}

bool model_may_change(const struct model *m, uint64_t block, uint64_t count)
{
	for (uint64_t i = block; i < block + count; i++) {
		if (m->cells[i].writing || m->cells[i].readers > 0) {
			return false;
		}
	}
	return true;
}

bool model_may_doubt(const struct model *m, uint64_t block, uint64_t count)
{
	for (uint64_t i = block; i < block + count; i++) {
		if (m->cells[i].other != m->cells[i].version) {
			return false;
		}
	}
	return true;
}

void model_begin_read(struct model *m, uint64_t block, uint64_t count)
{
	for (uint64_t i = block; i < block + count; i++) {
		m->cells[i].readers++;
	}
}

void model_end_read(struct model *m, uint64_t block, uint64_t count)
{
	for (uint64_t i = block; i < block + count; i++) {
		m->cells[i].readers--;
	}
}

void model_begin_change(struct model *m, uint64_t block, uint64_t count)
{
	for (uint64_t i = block; i < block + count; i++) {
		m->cells[i].writing = true;
	}
}

void model_end_change(struct model *m, uint64_t block, uint64_t count, uint32_t version)
{
	for (uint64_t i = block; i < block + count; i++) {
		m->cells[i] = (struct model_cell){.version = version, .other = version};
	}
}

void model_doubt_change(struct model *m, uint64_t block, uint64_t count, uint32_t version)
{
	for (uint64_t i = block; i < block + count; i++) {
		struct model_cell *cell = &m->cells[i];

		cell->unknown = cell->unknown || cell->other != cell->version;
		cell->other = version;
		cell->writing = false;
	}
}

void model_end_trim(struct model *m, uint64_t block, uint64_t count)
{
	for (uint64_t i = block; i < block + count; i++) {
		m->cells[i].maybe_zero = true;
		m->cells[i].writing = false;
	}
}

int model_save(const struct model *m, const char *path)
{
	struct file_header header = {
	    .seed = m->seed, .first = m->first, .count = m->count, .block_size = m->block_size};
	FILE *f = fopen(path, "wb");
	bool good;

	if (f == NULL) {
		return -errno;
	}
	memcpy(header.magic, file_magic, sizeof(header.magic));
	good = fwrite(&header, sizeof(header), 1, f) == 1 &&
	       fwrite(m->cells, sizeof(*m->cells), m->count, f) == m->count;
	return fclose(f) == 0 && good ? 0 : -EIO;
}

int model_load(struct model *m, const char *path)
{
	struct file_header header;
	FILE *f = fopen(path, "rb");
	int r = -EBADMSG;

	if (f == NULL) {
		return -errno;
	}
	if (fread(&header, sizeof(header), 1, f) == 1 &&
	    memcmp(header.magic, file_magic, sizeof(header.magic)) == 0 &&
	    header.first == m->first && header.count == m->count &&
	    header.block_size == m->block_size &&
	    fread(m->cells, sizeof(*m->cells), m->count, f) == m->count) {
		m->seed = header.seed;
		r = 0;
	}
	fclose(f);
	return r;
}
