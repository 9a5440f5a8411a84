/*
 * Health and load of a path from its counters: recent averages (about 10 s) beside a long baseline
 * (about 10 min), and a verdict. A path is judged against its own past, never against another one,
 * so that a slow disk is not a sick one.
 *
 * Thread rule: pure; time is an input. The counters are written by one reactor and read by the
 * control loop.
 */
#pragma once

#include <stdatomic.h>

#include "base/macros.h"

/* One writer, relaxed: a reader sees each number old or new, never torn. */
struct health_counters {
	_Atomic uint64_t started;
	_Atomic uint64_t ended;
	_Atomic uint64_t bytes;
	_Atomic uint64_t errors; /* of the medium or the request */
	_Atomic uint64_t transport_errors;
	_Atomic uint64_t timeouts;
	_Atomic uint64_t latency_us; /* sum over those that ended with an answer */
};

static inline uint64_t counter_read(const _Atomic uint64_t *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

/* The one writer only: no locked instruction. */
static inline void counter_add(_Atomic uint64_t *c, uint64_t n)
{
	atomic_store_explicit(c, counter_read(c) + n, memory_order_relaxed);
}

struct health_totals {
	uint64_t started;
	uint64_t ended;
	uint64_t bytes;
	uint64_t errors;
	uint64_t transport_errors;
	uint64_t timeouts;
	uint64_t latency_us;
};

void health_totals_add(struct health_totals *into, const struct health_counters *counters);
void health_totals_sum(struct health_totals *into, const struct health_totals *other);

enum health_news { HEALTH_NO_NEWS, HEALTH_DEGRADED, HEALTH_RECOVERED };

struct health {
	struct health_totals last;
	uint64_t last_ns; /* 0 = no sample yet */
	uint64_t age_ns;  /* of the baseline: time with requests */
	double iops;
	double bytes_per_s;
	double latency_us;
	double baseline_us;
	double error_rate;
	double errors_per_s;
	double baseline_errors;
	uint64_t changing_since_ns; /* the signs speak against the verdict since; 0 = they do not */
	bool degraded;
	char reason[128]; /* why it became degraded */
};

/*
 * To be called about once per second with the totals so far. The verdict changes only when the
 * signs last: 3 s to degraded, 10 s back.
 */
enum health_news health_sample(
    struct health *h, const struct health_totals *totals, uint64_t now_ns);
