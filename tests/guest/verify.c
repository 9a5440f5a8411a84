/*
 * The load inside the test guest: threads that write checksummed files without pause, fsync them,
 * rename them into place, read other ones back past the page cache, and compare. Progress goes out
 * as one JSON line every REPORT_MS over a virtio-serial port; the line "stop" on it ends the load:
 * every file is then read back once more, and the last line says "final".
 *
 * usage: verify DIRECTORY PORT
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	THREADS = 3,
	FILES = 12,	 /* per thread */
	BLOCK = 4096,	 /* bytes */
	MAX_BLOCKS = 32, /* per file */
	REPORT_MS = 200,
	ERROR_PAUSE_MS = 20, /* after a failed operation, so that a broken disk does not flood */
};

#define MAGIC 0x736c75696365ull

struct block_header {
	uint64_t magic;
	uint32_t thread;
	uint32_t file;
	uint64_t version;
	uint32_t block;
	uint32_t blocks;
	uint64_t checksum; /* of the whole block with this field 0 */
};

struct file_state {
	uint64_t version; /* 0 = not written yet */
	uint32_t blocks;
};

struct worker {
	pthread_t thread;
	unsigned index;
	uint64_t random;
	struct file_state files[FILES];
	unsigned char *buffer; /* MAX_BLOCKS blocks, aligned */
	char directory[256];
};

static atomic_bool stopping;
static atomic_ullong writes, reads, bytes, errors, mismatches;
static atomic_ullong last_completion_us; /* of any thread */
static atomic_ullong window_gap_us;	 /* longest pause without a completion, since the report */
static atomic_ullong window_slowest_us;	 /* slowest operation, since the report */
static int port_fd;

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void raise_to(atomic_ullong *maximum, uint64_t value)
{
	unsigned long long seen = atomic_load(maximum);

	while (value > seen && !atomic_compare_exchange_weak(maximum, &seen, value)) {
	}
}

/* An operation has ended: the time since the one before, of whichever thread, is a gap. */
static void count_completion(uint64_t started_us)
{
	uint64_t now = now_us();
	uint64_t before = atomic_exchange(&last_completion_us, now);

	if (before != 0 && now > before) {
		raise_to(&window_gap_us, now - before);
	}
	raise_to(&window_slowest_us, now - started_us);
}

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* FNV-1a over 64-bit words. */
static uint64_t checksum(const unsigned char *block)
{
	uint64_t hash = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < BLOCK; i += 8) {
		uint64_t word;

		memcpy(&word, block + i, sizeof(word));
		hash = (hash ^ word) * 0x100000001b3ull;
	}
	return hash;
}

static void fill_block(unsigned char *block, struct block_header header)
{
	uint64_t state = header.version * 1000003 + header.file * 4099 + header.block;

	header.magic = MAGIC;
	header.checksum = 0;
	for (size_t i = sizeof(header); i + 8 <= BLOCK; i += 8) {
		uint64_t word = next_random(&state);

		memcpy(block + i, &word, sizeof(word));
	}
	memcpy(block, &header, sizeof(header));
	header.checksum = checksum(block);
	memcpy(block, &header, sizeof(header));
}

static bool block_is(unsigned char *block, const struct block_header *expected)
{
	struct block_header found;
	uint64_t sum;

	memcpy(&found, block, sizeof(found));
	sum = found.checksum;
	found.checksum = 0;
	memcpy(block, &found, sizeof(found));
	return found.magic == MAGIC && checksum(block) == sum && found.thread == expected->thread &&
	       found.file == expected->file && found.version == expected->version &&
	       found.block == expected->block && found.blocks == expected->blocks;
}

static void report(const char *format, ...)
{
	char line[512];
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	for (int sent = 0; sent < length;) {
		ssize_t n = write(port_fd, line + sent, (size_t)(length - sent));

		if (n < 0 && errno != EINTR && errno != EAGAIN) {
			return;
		}
		sent += n > 0 ? (int)n : 0;
	}
}

static void fail(const char *what, const char *path)
{
	int error = errno;

	atomic_fetch_add(&errors, 1);
	report("{\"error\": \"%s %s: %s\"}\n", what, path, strerror(error));
	usleep(ERROR_PAUSE_MS * 1000);
}

static void file_path(const struct worker *w, unsigned file, bool temporary, char *path, size_t len)
{
	snprintf(path, len, "%s/%s%u", w->directory, temporary ? "new-" : "file-", file);
}

static int write_all(const char *path, const unsigned char *data, size_t length)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	int result = -1;

	if (fd < 0) {
		return -1;
	}
	for (size_t done = 0; done < length;) {
		ssize_t n = write(fd, data + done, length - done);

		if (n < 0) {
			goto out;
		}
		done += (size_t)n;
	}
	result = fsync(fd);
out:
	close(fd);
	return result;
}

/* A new version of one file: written beside it, made durable, renamed over it. */
static void write_file(struct worker *w, unsigned file)
{
	struct file_state *state = &w->files[file];
	uint32_t blocks = 1 + (uint32_t)(next_random(&w->random) % MAX_BLOCKS);
	uint64_t version = state->version + 1;
	char temporary[300], path[300];
	uint64_t started;

	for (uint32_t b = 0; b < blocks; b++) {
		fill_block(w->buffer + (size_t)b * BLOCK, (struct block_header){.thread = w->index,
							      .file = file,
							      .version = version,
							      .block = b,
							      .blocks = blocks});
	}
	file_path(w, file, true, temporary, sizeof(temporary));
	file_path(w, file, false, path, sizeof(path));
	started = now_us();
	if (write_all(temporary, w->buffer, (size_t)blocks * BLOCK) != 0) {
		fail("writing", temporary);
		return;
	}
	if (rename(temporary, path) != 0) {
		fail("renaming", temporary);
		return;
	}
	count_completion(started);
	*state = (struct file_state){.version = version, .blocks = blocks};
	atomic_fetch_add(&writes, 1);
	atomic_fetch_add(&bytes, (uint64_t)blocks * BLOCK);
}

static ssize_t read_past_cache(const char *path, unsigned char *buffer)
{
	int fd = open(path, O_RDONLY | O_DIRECT);
	ssize_t n;

	if (fd < 0) {
		return -1;
	}
	n = read(fd, buffer, (size_t)MAX_BLOCKS * BLOCK);
	close(fd);
	return n;
}

static void check_file(struct worker *w, unsigned file)
{
	const struct file_state *state = &w->files[file];
	uint64_t started = now_us();
	char path[300];
	ssize_t n;

	if (state->version == 0) {
		return;
	}
	file_path(w, file, false, path, sizeof(path));
	n = read_past_cache(path, w->buffer);
	if (n < 0) {
		fail("reading", path);
		return;
	}
	count_completion(started);
	atomic_fetch_add(&reads, 1);
	atomic_fetch_add(&bytes, (uint64_t)n);
	for (uint32_t b = 0; b < state->blocks; b++) {
		struct block_header expected = {.thread = w->index,
		    .file = file,
		    .version = state->version,
		    .block = b,
		    .blocks = state->blocks};

		if (n != (ssize_t)state->blocks * BLOCK ||
		    !block_is(w->buffer + (size_t)b * BLOCK, &expected)) {
			atomic_fetch_add(&mismatches, 1);
			report("{\"mismatch\": \"%s block %u version %" PRIu64 "\"}\n", path, b,
			    state->version);
			return;
		}
	}
}

static void *work(void *argument)
{
	struct worker *w = argument;

	while (!atomic_load(&stopping)) {
		uint64_t choice = next_random(&w->random);
		unsigned file = (unsigned)((choice >> 8) % FILES);

		if (choice % 2 == 0) {
			write_file(w, file);
		} else {
			check_file(w, file);
		}
	}
	for (unsigned file = 0; file < FILES; file++) {
		check_file(w, file);
	}
	return NULL;
}

static void report_progress(const char *kind)
{
	report(
	    "{\"%s\": true, \"writes\": %llu, \"reads\": %llu, \"bytes\": %llu, \"errors\": %llu, "
	    "\"mismatches\": %llu, \"gap_us\": %llu, \"slowest_us\": %llu}\n",
	    kind, atomic_load(&writes), atomic_load(&reads), atomic_load(&bytes),
	    atomic_load(&errors), atomic_load(&mismatches), atomic_exchange(&window_gap_us, 0),
	    atomic_exchange(&window_slowest_us, 0));
}

/* True when the host said stop. A pause that still lasts counts as a gap already. */
static bool wait_for_stop(void)
{
	struct pollfd watched = {.fd = port_fd, .events = POLLIN};
	char text[64];
	ssize_t n;

	if (poll(&watched, 1, REPORT_MS) <= 0 || !(watched.revents & POLLIN)) {
		raise_to(&window_gap_us, now_us() - atomic_load(&last_completion_us));
		return false;
	}
	n = read(port_fd, text, sizeof(text) - 1);
	if (n <= 0) {
		usleep(REPORT_MS * 1000);
		return false;
	}
	text[n] = '\0';
	return strstr(text, "stop") != NULL;
}

static int start_worker(struct worker *w, unsigned index, const char *directory)
{
	w->index = index;
	w->random = 12345 + index;
	snprintf(w->directory, sizeof(w->directory), "%s/worker-%u", directory, index);
	if (mkdir(w->directory, 0755) != 0 && errno != EEXIST) {
		return -1;
	}
	if (posix_memalign((void **)&w->buffer, BLOCK, (size_t)MAX_BLOCKS * BLOCK) != 0) {
		return -1;
	}
	return pthread_create(&w->thread, NULL, work, w);
}

int main(int argc, char **argv)
{
	static struct worker workers[THREADS];

	if (argc != 3) {
		fprintf(stderr, "usage: verify DIRECTORY PORT\n");
		return 2;
	}
	port_fd = open(argv[2], O_RDWR);
	if (port_fd < 0) {
		perror(argv[2]);
		return 1;
	}
	atomic_store(&last_completion_us, now_us());
	for (unsigned i = 0; i < THREADS; i++) {
		if (start_worker(&workers[i], i, argv[1]) != 0) {
			perror("starting a worker");
			return 1;
		}
	}
	while (!wait_for_stop()) {
		report_progress("progress");
	}
	atomic_store(&stopping, true);
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
	}
	report_progress("final");
	return atomic_load(&errors) || atomic_load(&mismatches) ? 1 : 0;
}
