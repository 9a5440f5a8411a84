#include "store/data_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* A directory that was just made is not there after a power cut until its parent is on disk. */
static void sync_parent(const char *path)
{
	char copy[PATH_MAX];
	int fd;

	if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy)) {
		return;
	}
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		(void)fsync(fd);
		close(fd);
	}
}

static int open_dir(const char *path, struct error *err)
{
	int fd;

	if (mkdir(path, 0700) == 0) {
		sync_parent(path);
	} else if (errno != EEXIST) {
		int r = -errno;

		error_set(err, r, "cannot make the data directory %s: %s", path, strerror(-r));
		return error_hint(err, "make its parent directory, or choose another --data");
	}
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		int r = -errno;

		return error_set(
		    err, r, "cannot open the data directory %s: %s", path, strerror(-r));
	}
	return fd;
}

static int refuse_busy(const char *path, int lock_fd, struct error *err)
{
	char text[32] = "";
	ssize_t n = pread(lock_fd, text, sizeof(text) - 1, 0);
	long pid = n > 0 ? strtol(text, NULL, 10) : 0;

	if (pid > 0) {
		error_set(err, -EBUSY, "the data directory %s is in use by process %ld", path, pid);
	} else {
		error_set(err, -EBUSY, "the data directory %s is in use by another process", path);
	}
	return error_hint(err, "stop the other daemon, or choose another --data");
}

static int open_lock(const char *path, int dir_fd, struct error *err)
{
	int fd = openat(dir_fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	int r;

	if (fd < 0) {
		r = -errno;
		return error_set(err, r, "cannot open %s/lock: %s", path, strerror(-r));
	}
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		r = -errno;
		if (r == -EWOULDBLOCK) {
			r = refuse_busy(path, fd, err);
		} else {
			error_set(err, r, "cannot lock %s/lock: %s", path, strerror(-r));
		}
		close(fd);
		return r;
	}
	/* The number is for people only, so a full disk is no reason to fail. */
	if (ftruncate(fd, 0) < 0 || dprintf(fd, "%ld\n", (long)getpid()) < 0) {
		return fd;
	}
	return fd;
}

int data_dir_open(const char *path, struct data_dir *ret_dir, struct error *err)
{
	int dir_fd = open_dir(path, err);
	int lock_fd;

	if (dir_fd < 0) {
		return dir_fd;
	}
	lock_fd = open_lock(path, dir_fd, err);
	if (lock_fd < 0) {
		close(dir_fd);
		return lock_fd;
	}
	*ret_dir = (struct data_dir){.dir_fd = dir_fd, .lock_fd = lock_fd};
	return 0;
}

void data_dir_close(struct data_dir *dir)
{
	close(dir->lock_fd);
	close(dir->dir_fd);
	*dir = (struct data_dir){.dir_fd = -1, .lock_fd = -1};
}
