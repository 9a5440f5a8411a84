#include "lu/drivers/file_lock.h"

#include "base/list.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

struct file_lock {
	struct list link;
	dev_t dev; /* of a device: the device itself, whatever its node is called */
	ino_t ino; /* 0 for a device */
	bool shared;
	unsigned users;
	int fd; /* holds the lock */
};

/* Locks belong to the process, so does this list. */
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static struct list locks = {&locks, &locks};

static struct file_lock *find_lock(dev_t dev, ino_t ino)
{
	list_for_each (pos, &locks) {
		struct file_lock *k = list_entry(pos, struct file_lock, link);

		if (k->dev == dev && k->ino == ino) {
			return k;
		}
	}
	return NULL;
}

static void process_name(long pid, char *buf, size_t len)
{
	char path[64];
	FILE *f;

	snprintf(buf, len, "?");
	snprintf(path, sizeof(path), "/proc/%ld/comm", pid);
	f = fopen(path, "re");
	if (f == NULL) {
		return;
	}
	if (fgets(buf, (int)len, f) != NULL) {
		buf[strcspn(buf, "\n")] = '\0';
	}
	fclose(f);
}

/* proc(5): "1: FLOCK  ADVISORY  WRITE 708 00:12:10 0 EOF". False when nobody is listed. */
static bool find_owner(const struct stat *st, long *ret_pid)
{
	char line[256];
	bool found = false;
	FILE *f = fopen("/proc/locks", "re");

	if (f == NULL) {
		return false;
	}
	while (!found && fgets(line, sizeof(line), f) != NULL) {
		unsigned major_nr;
		unsigned minor_nr;
		uint64_t ino;
		long pid;

		found = sscanf(line, "%*s FLOCK %*s %*s %ld %x:%x:%" SCNu64, &pid, &major_nr,
			    &minor_nr, &ino) == 4 &&
			makedev(major_nr, minor_nr) == st->st_dev && ino == st->st_ino;
		if (found) {
			*ret_pid = pid;
		}
	}
	fclose(f);
	return found;
}

static int say_who(const struct stat *st, const char *path, struct error *err)
{
	char name[64];
	long pid;

	if (find_owner(st, &pid)) {
		process_name(pid, name, sizeof(name));
		error_set(err, -EBUSY, "%s is in use by process %ld (%s)", path, pid, name);
	} else {
		error_set(err, -EBUSY, "%s is in use by another process", path);
	}
	error_hint(err, "two daemons must not serve the same storage: end the other one first");
	return -EBUSY;
}

static int lock_new(int fd, const char *path, const struct stat *st, bool shared,
    struct file_lock *k, struct error *err)
{
	int flags = shared ? O_RDONLY : O_RDWR;
	char self[64];

	/* A descriptor of its own, because a lock ends with the open file it was taken on. O_EXCL
	 * without O_CREAT claims a block device against mounts and other such openers: open(2). */
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	k->fd = open(self, flags | O_CLOEXEC | (S_ISBLK(st->st_mode) && !shared ? O_EXCL : 0));
	if (k->fd < 0 && errno == EBUSY) {
		return say_who(st, path, err);
	}
	if (k->fd < 0) {
		return error_set(err, -errno, "cannot open %s: %s", path, strerror(errno));
	}
	if (flock(k->fd, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) < 0) {
		int r = errno == EWOULDBLOCK
			    ? say_who(st, path, err)
			    : error_set(err, -errno, "cannot lock %s: %s", path, strerror(errno));

		close(k->fd);
		return r;
	}
	return 0;
}

/* A writer joins readers of this process: the lock becomes exclusive. */
static int lock_raise(
    struct file_lock *k, const struct stat *st, const char *path, bool shared, struct error *err)
{
	if (k->shared && !shared) {
		if (flock(k->fd, LOCK_EX | LOCK_NB) < 0) {
			/* flock(2): a failed conversion may have lost the old lock. */
			flock(k->fd, LOCK_SH | LOCK_NB);
			return say_who(st, path, err);
		}
		k->shared = false;
	}
	k->users++;
	return 0;
}

static int take_guarded(
    int fd, const char *path, bool shared, struct file_lock **ret_lock, struct error *err)
{
	struct file_lock *k;
	struct stat st;
	dev_t dev;
	ino_t ino;
	int r;

	if (fstat(fd, &st) < 0) {
		return error_set(err, -errno, "cannot examine %s: %s", path, strerror(errno));
	}
	dev = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
	ino = S_ISBLK(st.st_mode) ? 0 : st.st_ino;
	k = find_lock(dev, ino);
	if (k != NULL) {
		r = lock_raise(k, &st, path, shared, err);
		if (r == 0) {
			*ret_lock = k;
		}
		return r;
	}
	k = calloc(1, sizeof(*k));
	if (k == NULL) {
		return error_set(err, -ENOMEM, "out of memory");
	}
	r = lock_new(fd, path, &st, shared, k, err);
	if (r < 0) {
		free(k);
		return r;
	}
	k->dev = dev;
	k->ino = ino;
	k->shared = shared;
	k->users = 1;
	list_append(&locks, &k->link);
	*ret_lock = k;
	return 0;
}

int file_lock_take(
    int fd, const char *path, bool shared, struct file_lock **ret_lock, struct error *err)
{
	int r;

	pthread_mutex_lock(&guard);
	r = take_guarded(fd, path, shared, ret_lock, err);
	pthread_mutex_unlock(&guard);
	return r;
}

void file_lock_drop(struct file_lock *k)
{
	if (k == NULL) {
		return;
	}
	pthread_mutex_lock(&guard);
	k->users--;
	if (k->users == 0) {
		list_remove(&k->link);
		close(k->fd);
		free(k);
	}
	pthread_mutex_unlock(&guard);
}
