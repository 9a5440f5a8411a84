/*
 * Rules of the fault driver: what happens to which requests. JSON, an array of objects:
 *
 *   {"action": "error",   "errno": "EIO"}            ends the request, unexecuted
 *   {"action": "delay",   "delay_us": N, "jitter_us": N}   executes it later, by N .. N + jitter
 *   {"action": "corrupt"}                            flips a byte of what a READ returns
 *   {"action": "stop",    "tag": "text"}             keeps it until {"resume": "text"}
 *   {"action": "drop"}                               never answers it; closing gives it back
 *
 * and for each, optional: "probability" (0..1, 1 when absent), "ops" (array of operation names, all
 * when absent), "offset" and "length" (only requests that touch the range). All rules that match
 * apply; the first error, drop or stop among them decides.
 *
 * Thread rule: pure; a set of rules is immutable.
 */
#pragma once

#include <jansson.h>

#include "base/error.h"
#include "base/prng.h"
#include "io/io.h"

struct fault_rules;

/* rules: NULL = none. -EINVAL with the reason, -ENOMEM. */
int fault_rules_parse(const json_t *rules, struct fault_rules **ret_rules, struct error *err);
void fault_rules_free(struct fault_rules *rules);
/* A copy without the stops of that tag; -ENOENT when there is none, -ENOMEM. */
int fault_rules_resume(
    const struct fault_rules *rules, const char *tag, struct fault_rules **ret_rules);

enum fault_end { FAULT_PASS, FAULT_ERROR, FAULT_STOP, FAULT_DROP };

struct fault_verdict {
	enum fault_end end;
	int status; /* FAULT_ERROR */
	bool corrupt;
	uint64_t delay_ns;
};
struct fault_verdict fault_rules_judge(
    const struct fault_rules *rules, const struct io *io, struct prng *prng);
