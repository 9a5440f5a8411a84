/*
 * Runs a fuzz target once over every file of its corpus, in place of libFuzzer: so that what was
 * found once stays found, with every compiler and sanitizer. An empty corpus is a failure: it would
 * test nothing.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The whole file, in a block of exactly its size, so that a sanitizer sees a read beyond the end.
 */
static uint8_t *read_file(const char *path, size_t *ret_size)
{
	uint8_t *data = NULL;
	FILE *file = fopen(path, "rb");
	long size;

	if (file == NULL) {
		return NULL;
	}
	if (fseek(file, 0, SEEK_END) == 0 && (size = ftell(file)) >= 0 &&
	    fseek(file, 0, SEEK_SET) == 0 && (data = malloc((size_t)size + (size == 0))) != NULL &&
	    fread(data, 1, (size_t)size, file) == (size_t)size) {
		*ret_size = (size_t)size;
	} else {
		free(data);
		data = NULL;
	}
	fclose(file);
	return data;
}

static int replay_file(const char *directory, const char *name)
{
	char path[4096];
	uint8_t *data;
	size_t size;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	data = read_file(path, &size);
	if (data == NULL) {
		fprintf(stderr, "cannot read %s\n", path);
		return -1;
	}
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	return 0;
}

int main(int argc, char **argv)
{
	const struct dirent *entry;
	unsigned count = 0;
	int failed = 0;
	DIR *dir;

	if (argc != 2 || (dir = opendir(argv[1])) == NULL) {
		fprintf(stderr, "usage: %s CORPUS-DIRECTORY\n", argv[0]);
		return 2;
	}
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] != '.') {
			failed |= replay_file(argv[1], entry->d_name);
			count++;
		}
	}
	closedir(dir);
	printf("%u inputs replayed\n", count);
	return failed != 0 || count == 0;
}
