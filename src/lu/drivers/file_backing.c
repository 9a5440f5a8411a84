#include "lu/drivers/file_backing.h"

#include "lu/drivers/file_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#define SECTOR 512u
#define MAX_DIRECT_ALIGNMENT 4096u

static int open_error(const char *path, struct error *err)
{
	int code = -errno;

	error_set(err, code, "cannot open %s: %s", path, strerror(-code));
	if (code == -ENOENT) {
		error_hint(err, "check the name; with a size, a missing file is created");
	} else if (code == -EACCES || code == -EPERM || code == -EROFS) {
		error_hint(err, "the daemon must be able to write it, or set \"read_only\": true");
	}
	return code;
}

/* File systems without direct I/O (open(2), EINVAL) are used through the page cache. */
static int open_path(const struct file_backing_params *p, struct file_backing *b, struct error *err)
{
	int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (p->read_only ? O_RDONLY : O_RDWR);

	if (p->size > 0 && !p->device && !p->read_only) {
		flags |= O_CREAT;
	}
	b->direct = true;
	b->fd = open(p->path, flags | O_DIRECT, 0600);
	if (b->fd < 0 && errno == EINVAL) {
		b->direct = false;
		b->fd = open(p->path, flags, 0600);
	}
	if (b->fd < 0) {
		return open_error(p->path, err);
	}
	/* O_NONBLOCK was against a FIFO that nobody writes; io_uring would take it as "do not
	 * wait". */
	flags = fcntl(b->fd, F_GETFL);
	if (flags < 0 || fcntl(b->fd, F_SETFL, flags & ~O_NONBLOCK) < 0) {
		return open_error(p->path, err);
	}
	return 0;
}

static int check_type(const struct file_backing_params *p, const struct stat *st, struct error *err)
{
	if (p->device && !S_ISBLK(st->st_mode)) {
		error_set(err, -ENOTBLK, "%s is not a block device", p->path);
		error_hint(err, "give a regular file without \"device\"");
		return -ENOTBLK;
	}
	if (!p->device && !S_ISREG(st->st_mode)) {
		error_set(err, -EINVAL, "%s is not a regular file", p->path);
		error_hint(err, "give a block device with \"device\": true");
		return -EINVAL;
	}
	return 0;
}

/* The new name must survive a crash as well as the data: fsync(2). */
static int sync_directory(const char *path)
{
	char *copy = strdup(path);
	char *slash;
	int fd;
	int r;

	if (copy == NULL) {
		return -ENOMEM;
	}
	slash = strrchr(copy, '/');
	if (slash != NULL) {
		slash[slash == copy] = '\0';
	}
	fd = open(slash != NULL ? copy : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(copy);
	if (fd < 0) {
		return -errno;
	}
	r = fsync(fd) < 0 ? -errno : 0;
	close(fd);
	return r;
}

static int extend_file(
    const struct file_backing_params *p, int fd, struct stat *st, struct error *err)
{
	int r = 0;

	if (p->size == 0 || (uint64_t)st->st_size >= p->size) {
		return 0;
	}
	if (p->read_only) {
		error_set(err, -EROFS, "%s is smaller than the size given and read-only", p->path);
		error_hint(err, "leave the size out");
		return -EROFS;
	}
	if (ftruncate(fd, (off_t)p->size) < 0 || fsync(fd) < 0) {
		r = -errno;
	} else {
		r = sync_directory(p->path);
	}
	if (r < 0) {
		return error_set(err, r, "cannot extend %s: %s", p->path, strerror(-r));
	}
	st->st_size = (off_t)p->size;
	return 0;
}

static bool valid_alignment(uint32_t a)
{
	return a > 0 && a <= MAX_DIRECT_ALIGNMENT && (a & (a - 1)) == 0;
}

/* Older kernels do not tell, so see which alignment a read is accepted with. */
static uint32_t probe_alignment(int fd, const struct stat *st)
{
	void *buffer;
	ssize_t n;
	int sector;

	if (S_ISBLK(st->st_mode)) {
		return ioctl(fd, BLKSSZGET, &sector) == 0 && valid_alignment((uint32_t)sector)
			   ? (uint32_t)sector
			   : MAX_DIRECT_ALIGNMENT;
	}
	if (st->st_size < (off_t)SECTOR ||
	    posix_memalign(&buffer, MAX_DIRECT_ALIGNMENT, SECTOR) != 0) {
		return MAX_DIRECT_ALIGNMENT;
	}
	n = pread(fd, buffer, SECTOR, 0);
	free(buffer);
	return n == (ssize_t)SECTOR ? SECTOR : MAX_DIRECT_ALIGNMENT;
}

static int leave_direct(struct file_backing *b)
{
	int flags = fcntl(b->fd, F_GETFL);

	if (flags < 0 || fcntl(b->fd, F_SETFL, flags & ~O_DIRECT) < 0) {
		return -errno;
	}
	b->direct = false;
	return 0;
}

static bool is_in_memory(int fd, const struct stat *st)
{
	struct statfs fs;

	return S_ISREG(st->st_mode) && fstatfs(fd, &fs) == 0 &&
	       (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

static int find_alignment(struct file_backing *b, const struct stat *st)
{
	struct statx stx = {0};

	b->block_size = SECTOR;
	b->memory_alignment = 1;
	b->in_memory = is_in_memory(b->fd, st);
	if (!b->direct) {
		return 0;
	}
	if (b->in_memory) {
		return leave_direct(b);
	}
#ifdef STATX_DIOALIGN
	if (statx(b->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
	    (stx.stx_mask & STATX_DIOALIGN) != 0) {
		if (!valid_alignment(stx.stx_dio_offset_align) ||
		    !valid_alignment(stx.stx_dio_mem_align)) {
			return leave_direct(b);
		}
		b->block_size = MAX(SECTOR, stx.stx_dio_offset_align);
		b->memory_alignment = stx.stx_dio_mem_align;
		return 0;
	}
#endif
	b->block_size = probe_alignment(b->fd, st);
	b->memory_alignment = b->block_size;
	return 0;
}

static bool read_sysfs(dev_t dev, const char *name, char *buf, size_t len)
{
	char path[128];
	bool ok;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s", major(dev), minor(dev), name);
	f = fopen(path, "re");
	if (f == NULL) {
		return false;
	}
	ok = fgets(buf, (int)len, f) != NULL;
	fclose(f);
	if (ok) {
		buf[strcspn(buf, "\n")] = '\0';
	}
	return ok && buf[0] != '\0';
}

/* The attribute of the disk, also when dev is a partition of it. */
static bool read_disk_sysfs(dev_t dev, const char *name, char *buf, size_t len)
{
	char above[96];

	snprintf(above, sizeof(above), "../%s", name);
	return read_sysfs(dev, name, buf, len) || read_sysfs(dev, above, buf, len);
}

static void find_identity(struct file_backing *b, const struct stat *st)
{
	char wwn[96];
	char part[16] = "";

	if (!S_ISBLK(st->st_mode)) {
		snprintf(b->identity, sizeof(b->identity), "file:%u:%u:%llu", major(st->st_dev),
		    minor(st->st_dev), (unsigned long long)st->st_ino);
		return;
	}
	if (!read_disk_sysfs(st->st_rdev, "wwid", wwn, sizeof(wwn)) &&
	    !read_disk_sysfs(st->st_rdev, "device/wwid", wwn, sizeof(wwn))) {
		snprintf(b->identity, sizeof(b->identity), "device:%u:%u", major(st->st_rdev),
		    minor(st->st_rdev));
		return;
	}
	read_sysfs(st->st_rdev, "partition", part, sizeof(part));
	snprintf(b->identity, sizeof(b->identity), "device:%s%s%s", wwn,
	    part[0] == '\0' ? "" : "-part", part);
}

static void find_discard(struct file_backing *b, const struct stat *st)
{
	char text[32];
	unsigned long long granularity;

	if (!S_ISBLK(st->st_mode)) {
		b->discard_granularity = b->preferred_size;
		return;
	}
	b->discard_granularity = 0;
	if (read_disk_sysfs(st->st_rdev, "queue/discard_max_bytes", text, sizeof(text)) &&
	    strtoull(text, NULL, 10) > 0 &&
	    read_disk_sysfs(st->st_rdev, "queue/discard_granularity", text, sizeof(text))) {
		granularity = strtoull(text, NULL, 10);
		b->discard_granularity = (uint32_t)MIN(MAX(granularity, SECTOR), 1u << 30);
	}
}

static int find_size(struct file_backing *b, const struct stat *st)
{
	uint64_t size = (uint64_t)st->st_size;

	if (S_ISBLK(st->st_mode) && ioctl(b->fd, BLKGETSIZE64, &size) < 0) {
		return -errno;
	}
	b->size = ALIGN_DOWN(size, b->block_size);
	return 0;
}

static int examine(const struct file_backing_params *p, struct file_backing *b, struct error *err)
{
	uint32_t preferred;
	struct stat st;
	int r;

	if (fstat(b->fd, &st) < 0) {
		return error_set(err, -errno, "cannot examine %s: %s", p->path, strerror(errno));
	}
	r = check_type(p, &st, err);
	if (r < 0) {
		return r;
	}
	r = file_lock_take(b->fd, p->path, p->read_only, &b->lock, err);
	if (r < 0) {
		return r;
	}
	r = extend_file(p, b->fd, &st, err);
	if (r < 0) {
		return r;
	}
	r = find_alignment(b, &st);
	if (r == 0) {
		r = find_size(b, &st);
	}
	if (r < 0) {
		return error_set(err, r, "cannot examine %s: %s", p->path, strerror(-r));
	}
	if (b->size == 0) {
		error_set(err, -EINVAL, "%s is empty", p->path);
		error_hint(err, "give a size to extend it to");
		return -EINVAL;
	}
	preferred = (uint32_t)MIN(MAX(st.st_blksize, 4096), 1 << 20);
	b->preferred_size = valid_alignment(preferred) ? preferred : 4096;
	b->preferred_size = MAX(b->preferred_size, b->block_size);
	find_identity(b, &st);
	find_discard(b, &st);
	return 0;
}

int file_backing_open(
    const struct file_backing_params *params, struct file_backing *ret_backing, struct error *err)
{
	struct file_backing b = {.fd = -1};
	int r = open_path(params, &b, err);

	if (r == 0) {
		r = examine(params, &b, err);
	}
	if (r < 0) {
		file_backing_close(&b);
		return r;
	}
	*ret_backing = b;
	return 0;
}

void file_backing_close(struct file_backing *b)
{
	if (b->fd >= 0) {
		close(b->fd);
		b->fd = -1;
	}
	file_lock_drop(b->lock);
	b->lock = NULL;
}
