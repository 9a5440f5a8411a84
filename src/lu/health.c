#include "lu/health.h"

#include <stdio.h>

#define RECENT_S 10.0
#define BASELINE_S 600.0
#define BASELINE_WARM_NS (10 * NS_PER_S) /* a younger past is no measure */
#define WORSE_FOR_NS (3 * NS_PER_S)
#define BETTER_FOR_NS (10 * NS_PER_S)

/* Degraded above the first, recovered below the second: hysteresis. */
#define LATENCY_WORSE 4.0
#define LATENCY_BETTER 2.0
#define LATENCY_FLOOR_US 2000.0 /* rises below that are noise of a busy machine */
#define ERRORS_WORSE 0.02
#define ERRORS_BETTER 0.005
#define ERRORS_FEW 3.0 /* in the recent past: chance, whatever their share of few requests */

void health_totals_add(struct health_totals *into, const struct health_counters *counters)
{
	into->started += counter_read(&counters->started);
	into->ended += counter_read(&counters->ended);
	into->bytes += counter_read(&counters->bytes);
	into->errors += counter_read(&counters->errors);
	into->transport_errors += counter_read(&counters->transport_errors);
	into->timeouts += counter_read(&counters->timeouts);
	into->latency_us += counter_read(&counters->latency_us);
}

void health_totals_sum(struct health_totals *into, const struct health_totals *other)
{
	into->started += other->started;
	into->ended += other->ended;
	into->bytes += other->bytes;
	into->errors += other->errors;
	into->transport_errors += other->transport_errors;
	into->timeouts += other->timeouts;
	into->latency_us += other->latency_us;
}

static uint64_t all_errors(const struct health_totals *t)
{
	return t->errors + t->transport_errors + t->timeouts;
}

static void approach(double *average, double value, double weight)
{
	*average += weight * (value - *average);
}

/*
 * The baseline is the plain mean while it is young. What stands out hardly counts, so that trouble
 * does not become the measure; but it counts a little, so that a new kind of load does in the end.
 */
static double learning_weight(const struct health *h, double latency, double errors, double dt)
{
	double age = (double)h->age_ns / (double)NS_PER_S;
	bool warm = h->age_ns >= BASELINE_WARM_NS;
	bool slow = latency > LATENCY_BETTER * h->baseline_us &&
		    latency > h->baseline_us + LATENCY_FLOOR_US;
	bool failing = errors > ERRORS_BETTER + 2 * h->baseline_errors;

	return dt / (warm && (slow || failing) ? BASELINE_S + dt : MIN(BASELINE_S, age + dt));
}

static void learn(struct health *h, double latency, double errors, double dt)
{
	double weight = learning_weight(h, latency, errors, dt);

	h->age_ns += (uint64_t)(dt * (double)NS_PER_S);
	approach(&h->baseline_us, latency, weight);
	approach(&h->baseline_errors, errors, weight);
}

static void average(struct health *h, const struct health_totals *t, double dt)
{
	uint64_t ended = t->ended - h->last.ended;
	double weight = dt / (RECENT_S + dt);
	uint64_t broken = t->transport_errors - h->last.transport_errors;
	bool first = h->age_ns == 0;
	double latency;
	double errors;

	approach(&h->iops, (double)ended / dt, weight);
	approach(&h->errors_per_s, (double)(all_errors(t) - all_errors(&h->last)) / dt, weight);
	approach(&h->bytes_per_s, (double)(t->bytes - h->last.bytes) / dt, weight);
	if (ended == 0) {
		return;
	}
	errors = (double)(all_errors(t) - all_errors(&h->last)) / (double)ended;
	errors = MIN(errors, 1.0);
	approach(&h->error_rate, errors, weight);
	if (ended <= broken) {
		return;
	}
	latency = (double)(t->latency_us - h->last.latency_us) / (double)(ended - broken);
	approach(&h->latency_us, latency, first ? 1.0 : weight);
	learn(h, latency, errors, dt);
}

/* Whether the numbers of now speak for sick (when it counts as well) or still do (when sick). */
static bool looks_sick(struct health *h)
{
	double latency = h->degraded ? LATENCY_BETTER : LATENCY_WORSE;
	double errors = h->degraded ? ERRORS_BETTER : ERRORS_WORSE;

	if (h->error_rate > errors + 2 * h->baseline_errors &&
	    (h->degraded || h->errors_per_s * RECENT_S >= ERRORS_FEW)) {
		if (!h->degraded) {
			snprintf(h->reason, sizeof(h->reason),
			    "%.1f %% of the requests fail, %.1f %% before", h->error_rate * 100,
			    h->baseline_errors * 100);
		}
		return true;
	}
	if (h->age_ns >= BASELINE_WARM_NS && h->latency_us > latency * h->baseline_us &&
	    h->latency_us > h->baseline_us + LATENCY_FLOOR_US) {
		if (!h->degraded) {
			snprintf(h->reason, sizeof(h->reason),
			    "a request takes %.1f ms, %.1f ms before", h->latency_us / 1000,
			    h->baseline_us / 1000);
		}
		return true;
	}
	return false;
}

static enum health_news judge(struct health *h, uint64_t now_ns)
{
	uint64_t needed = h->degraded ? BETTER_FOR_NS : WORSE_FOR_NS;

	if (looks_sick(h) == h->degraded) {
		h->changing_since_ns = 0;
		return HEALTH_NO_NEWS;
	}
	if (h->changing_since_ns == 0) {
		h->changing_since_ns = now_ns;
	}
	if (now_ns - h->changing_since_ns < needed) {
		return HEALTH_NO_NEWS;
	}
	h->changing_since_ns = 0;
	h->degraded = !h->degraded;
	return h->degraded ? HEALTH_DEGRADED : HEALTH_RECOVERED;
}

enum health_news health_sample(
    struct health *h, const struct health_totals *totals, uint64_t now_ns)
{
	enum health_news news = HEALTH_NO_NEWS;

	if (h->last_ns != 0 && now_ns > h->last_ns) {
		average(h, totals, (double)(now_ns - h->last_ns) / (double)NS_PER_S);
		news = judge(h, now_ns);
	}
	h->last = *totals;
	h->last_ns = now_ns;
	return news;
}
