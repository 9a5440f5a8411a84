/*
 * The directory that belongs to one daemon: made when missing (mode 0700) and locked against a
 * second one for as long as it is open, also when the first is killed.
 *
 * Thread rule: any thread; blocks.
 */
#pragma once

#include "base/error.h"

struct data_dir {
	int dir_fd;
	int lock_fd;
};

/* -EBUSY when another process has it (the message says which), or -errno. */
int data_dir_open(const char *path, struct data_dir *ret_dir, struct error *err);
void data_dir_close(struct data_dir *dir);
