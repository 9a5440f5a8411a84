/*
 * Small compile-time helpers that every folder uses. No state, any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
/* n must be a power of two. */
#define ALIGN_UP(x, n) (((x) + (n)-1) & ~((uint64_t)(n)-1))
#define ALIGN_DOWN(x, n) ((x) & ~((uint64_t)(n)-1))
#define IS_ALIGNED(x, n) ((((uint64_t)(x)) & ((uint64_t)(n)-1)) == 0)

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S 1000000000ull

/* Checks of our own state stay on in release builds; bytes from outside are checked by code, never
 * by this. */
#define sluice_assert(cond) ((cond) ? (void)0 : sluice_assert_failed(#cond, __FILE__, __LINE__))
_Noreturn void sluice_assert_failed(const char *cond, const char *file, int line);
