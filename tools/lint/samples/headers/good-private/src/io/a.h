/*
 * A sample header: it says what it is for, and on which thread. Pure, any thread.
 */
#pragma once

#include <stdint.h>

struct a {
	uint64_t x;
};
