#include "lu/health.h"
#include "lu/private.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct past {
	struct health health;
	struct health_totals totals;
	uint64_t now_ns;
	unsigned degraded; /* news */
	unsigned recovered;
};

/* So many seconds of 1000 requests each, failing and slow as given. */
static void pass(struct past *p, unsigned seconds, unsigned errors, unsigned latency_us)
{
	for (unsigned i = 0; i < seconds; i++) {
		enum health_news news;

		p->now_ns += NS_PER_S;
		p->totals.started += 1000;
		p->totals.ended += 1000;
		p->totals.bytes += 1000 * 4096;
		p->totals.errors += errors;
		p->totals.latency_us += 1000ull * latency_us;
		news = health_sample(&p->health, &p->totals, p->now_ns);
		p->degraded += news == HEALTH_DEGRADED;
		p->recovered += news == HEALTH_RECOVERED;
	}
}

static void steady_load_is_measured(void **state)
{
	struct past p = {.now_ns = 1};

	pass(&p, 120, 0, 200);
	assert_true(p.health.iops > 900 && p.health.iops < 1001);
	assert_true(p.health.bytes_per_s > 900 * 4096.0);
	assert_true(p.health.latency_us > 199 && p.health.latency_us < 201);
	assert_true(p.health.baseline_us > 199 && p.health.baseline_us < 201);
	assert_int_equal(p.degraded, 0);
}

static void rising_errors_degrade_and_their_end_recovers(void **state)
{
	struct past p = {.now_ns = 1};

	pass(&p, 60, 0, 200);
	pass(&p, 10, 200, 200);
	assert_int_equal(p.degraded, 1);
	assert_non_null(strstr(p.health.reason, "% of the requests fail"));
	pass(&p, 120, 0, 200);
	assert_int_equal(p.recovered, 1);
	assert_int_equal(p.degraded, 1);
}

static void latency_far_above_its_own_past_degrades(void **state)
{
	struct past p = {.now_ns = 1};

	pass(&p, 60, 0, 1000);
	pass(&p, 20, 0, 20000);
	assert_int_equal(p.degraded, 1);
	assert_non_null(strstr(p.health.reason, "ms before"));
	pass(&p, 120, 0, 1000);
	assert_int_equal(p.recovered, 1);
}

static void slow_path_that_was_always_slow_is_not_sick(void **state)
{
	struct past p = {.now_ns = 1};

	pass(&p, 300, 0, 50000);
	assert_int_equal(p.degraded, 0);
}

static void short_trouble_is_no_news(void **state)
{
	struct past p = {.now_ns = 1};

	pass(&p, 60, 0, 1000);
	pass(&p, 1, 30, 9000);
	pass(&p, 60, 0, 1000);
	assert_int_equal(p.degraded, 0);
}

static void sick_time_does_not_become_the_measure(void **state)
{
	struct past p = {.now_ns = 1};

	pass(&p, 60, 0, 1000);
	pass(&p, 60, 0, 20000);
	assert_true(p.health.degraded);
	assert_true(p.health.baseline_us < 3000);
	assert_int_equal(p.recovered, 0);
}

static void new_kind_of_load_becomes_the_measure_in_the_end(void **state)
{
	struct past p = {.now_ns = 1};

	pass(&p, 60, 0, 1000);
	pass(&p, 3600, 0, 20000);
	assert_int_equal(p.degraded, 1);
	assert_int_equal(p.recovered, 1);
}

static void single_error_of_an_idle_path_is_chance(void **state)
{
	struct past p = {.now_ns = 1};

	for (unsigned i = 0; i < 60; i++) {
		p.now_ns += NS_PER_S;
		p.totals.ended++;
		p.totals.errors += i == 30 ? 1 : 0;
		p.totals.latency_us += 200;
		assert_int_equal(health_sample(&p.health, &p.totals, p.now_ns), HEALTH_NO_NEWS);
	}
}

static void time_until_a_session_was_lost_is_no_latency(void **state)
{
	struct past p = {.now_ns = 1};

	pass(&p, 5, 0, 200);
	p.now_ns += NS_PER_S;
	p.totals.ended += 32;
	p.totals.transport_errors += 32;
	health_sample(&p.health, &p.totals, p.now_ns);
	assert_true(p.health.latency_us > 199 && p.health.latency_us < 201);
	assert_true(p.health.error_rate > 0.05);
}

/* -- what an interface makes of it -- */

struct record {
	unsigned degraded;
	unsigned recovered;
};

static void on_degraded(void *ctx, struct interface *i, const char *text)
{
	((struct record *)ctx)->degraded++;
	assert_non_null(strstr(text, "if1"));
}

static void on_recovered(void *ctx, struct interface *i, const char *text)
{
	((struct record *)ctx)->recovered++;
}

static void interface_is_degraded_while_any_of_its_paths_is(void **state)
{
	struct record record = {0};
	struct lu_events events = {
	    .interface_degraded = on_degraded, .interface_recovered = on_recovered, .ctx = &record};
	struct interface_params params = {
	    .name = "if1", .kind = "fake", .network_id = "", .bind = ""};
	struct interface *i = NULL;
	struct lu lu = {.name = "lu"};
	struct lu_path one = {.lu = &lu};
	struct lu_path two = {.lu = &lu};

	assert_int_equal(interface_new(&params, &events, &i, NULL), 0);
	interface_path_news(i, &one, HEALTH_DEGRADED);
	interface_path_news(i, &two, HEALTH_DEGRADED);
	assert_true(interface_degraded(i));
	interface_path_news(i, &one, HEALTH_RECOVERED);
	assert_true(interface_degraded(i));
	interface_path_news(i, &two, HEALTH_RECOVERED);
	assert_false(interface_degraded(i));
	assert_int_equal(record.degraded, 1);
	assert_int_equal(record.recovered, 1);
	interface_free(i);
}

static void interface_of_an_unknown_kind_is_refused(void **state)
{
	struct interface_params params = {
	    .name = "if1", .kind = "smoke-signals", .network_id = "", .bind = ""};
	struct interface *i = NULL;
	struct error err = {0};

	assert_int_equal(interface_new(&params, NULL, &i, &err), -EINVAL);
	assert_null(i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(steady_load_is_measured),
	    cmocka_unit_test(rising_errors_degrade_and_their_end_recovers),
	    cmocka_unit_test(latency_far_above_its_own_past_degrades),
	    cmocka_unit_test(slow_path_that_was_always_slow_is_not_sick),
	    cmocka_unit_test(short_trouble_is_no_news),
	    cmocka_unit_test(sick_time_does_not_become_the_measure),
	    cmocka_unit_test(new_kind_of_load_becomes_the_measure_in_the_end),
	    cmocka_unit_test(single_error_of_an_idle_path_is_chance),
	    cmocka_unit_test(time_until_a_session_was_lost_is_no_latency),
	    cmocka_unit_test(interface_is_degraded_while_any_of_its_paths_is),
	    cmocka_unit_test(interface_of_an_unknown_kind_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
