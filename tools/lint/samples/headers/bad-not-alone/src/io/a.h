/*
 * A sample header: it says what it is for, and on which thread. Pure, any thread.
 */
#pragma once

uint64_t a(void);
