/*
 * One owner per file: an advisory flock() that keeps a second daemon away from storage that this
 * one serves, and says which process has it. Within this process the lock is shared: several
 * sessions (paths) may lead to the same file.
 *
 * Thread rule: any thread; may block (run it on a worker).
 */
#pragma once

#include "base/error.h"

struct file_lock;

/*
 * fd is open on what is to be locked; shared: this session only reads. A device is also opened
 * exclusively, which refuses one that is mounted. -EBUSY with the name of the owner.
 */
int file_lock_take(
    int fd, const char *path, bool shared, struct file_lock **ret_lock, struct error *err);
/* NULL is fine. */
void file_lock_drop(struct file_lock *lock);
