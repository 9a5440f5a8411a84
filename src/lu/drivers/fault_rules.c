#include "lu/drivers/fault_rules.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum fault_action { ACTION_ERROR, ACTION_DELAY, ACTION_CORRUPT, ACTION_STOP, ACTION_DROP };

static const char *const action_names[] = {
    [ACTION_ERROR] = "error",
    [ACTION_DELAY] = "delay",
    [ACTION_CORRUPT] = "corrupt",
    [ACTION_STOP] = "stop",
    [ACTION_DROP] = "drop",
};

static const struct {
	const char *name;
	int code;
} errnos[] = {
    {"EIO", EIO},
    {"ENOSPC", ENOSPC},
    {"EROFS", EROFS},
    {"EPERM", EPERM},
    {"EINVAL", EINVAL},
    {"ENOMEM", ENOMEM},
    {"EBUSY", EBUSY},
    {"EOPNOTSUPP", EOPNOTSUPP},
    {"EREMOTEIO", EREMOTEIO},
    {"ETIMEDOUT", ETIMEDOUT},
    {"ECONNRESET", ECONNRESET},
    {"ENOTCONN", ENOTCONN},
    {"ESHUTDOWN", ESHUTDOWN},
    {"EPIPE", EPIPE},
};

struct fault_rule {
	enum fault_action action;
	unsigned ops; /* bits of enum io_op */
	struct range range;
	double probability;
	int status;
	uint64_t delay_us;
	uint64_t jitter_us;
	char tag[64];
};

struct fault_rules {
	size_t nr;
	struct fault_rule rules[];
};

#define MAX_DELAY_US (3600ull * 1000 * 1000)

/* -- reading -- */

static int read_action(const json_t *value, struct fault_rule *rule, struct error *err)
{
	const char *name = json_string_value(value);

	for (size_t i = 0; name != NULL && i < ARRAY_SIZE(action_names); i++) {
		if (strcmp(name, action_names[i]) == 0) {
			rule->action = (enum fault_action)i;
			return 0;
		}
	}
	return error_set(
	    err, -EINVAL, "a rule's action is one of error, delay, corrupt, stop, drop");
}

static int read_errno(const json_t *value, struct fault_rule *rule, struct error *err)
{
	const char *name = json_string_value(value);

	for (size_t i = 0; name != NULL && i < ARRAY_SIZE(errnos); i++) {
		if (strcmp(name, errnos[i].name) == 0) {
			rule->status = -errnos[i].code;
			return 0;
		}
	}
	return error_set(err, -EINVAL, "unknown errno '%s' in a rule", name != NULL ? name : "");
}

static int read_ops(const json_t *value, struct fault_rule *rule, struct error *err)
{
	size_t i;
	const json_t *item;

	rule->ops = 0;
	json_array_foreach(value, i, item)
	{
		const char *name = json_string_value(item);
		unsigned before = rule->ops;

		for (unsigned op = 0; name != NULL && op < IO_OP_COUNT; op++) {
			rule->ops |= strcmp(name, io_op_name((enum io_op)op)) == 0 ? 1u << op : 0;
		}
		if (rule->ops == before) {
			return error_set(err, -EINVAL, "unknown operation '%s' in a rule",
			    name != NULL ? name : "");
		}
	}
	return rule->ops != 0 ? 0
			      : error_set(err, -EINVAL, "a rule's ops are an array of operations");
}

static int read_number(
    const json_t *value, uint64_t max, const char *what, uint64_t *ret, struct error *err)
{
	json_int_t n = json_integer_value(value);

	if (!json_is_integer(value) || n < 0 || (uint64_t)n > max) {
		return error_set(err, -EINVAL, "a rule's %s is a number from 0 to %llu", what,
		    (unsigned long long)max);
	}
	*ret = (uint64_t)n;
	return 0;
}

static int read_probability(const json_t *value, struct fault_rule *rule, struct error *err)
{
	double p = json_number_value(value);

	if (!json_is_number(value) || !(p >= 0 && p <= 1)) {
		return error_set(err, -EINVAL, "a rule's probability is a number from 0 to 1");
	}
	rule->probability = p;
	return 0;
}

static int read_tag(const json_t *value, struct fault_rule *rule, struct error *err)
{
	const char *tag = json_string_value(value);

	if (tag == NULL || tag[0] == '\0' || strlen(tag) >= sizeof(rule->tag)) {
		return error_set(err, -EINVAL, "a rule's tag is a text of at most %zu bytes",
		    sizeof(rule->tag) - 1);
	}
	strcpy(rule->tag, tag);
	return 0;
}

static int read_member(
    const char *key, const json_t *value, struct fault_rule *rule, struct error *err)
{
	if (strcmp(key, "action") == 0) {
		return read_action(value, rule, err);
	}
	if (strcmp(key, "errno") == 0) {
		return read_errno(value, rule, err);
	}
	if (strcmp(key, "ops") == 0) {
		return read_ops(value, rule, err);
	}
	if (strcmp(key, "probability") == 0) {
		return read_probability(value, rule, err);
	}
	if (strcmp(key, "tag") == 0) {
		return read_tag(value, rule, err);
	}
	if (strcmp(key, "delay_us") == 0) {
		return read_number(value, MAX_DELAY_US, key, &rule->delay_us, err);
	}
	if (strcmp(key, "jitter_us") == 0) {
		return read_number(value, MAX_DELAY_US, key, &rule->jitter_us, err);
	}
	if (strcmp(key, "offset") == 0) {
		return read_number(value, INT64_MAX, key, &rule->range.offset, err);
	}
	if (strcmp(key, "length") == 0) {
		return read_number(value, INT64_MAX, key, &rule->range.length, err);
	}
	return error_set(err, -EINVAL, "a rule has no member '%s'", key);
}

static int read_rule(const json_t *object, struct fault_rule *rule, struct error *err)
{
	const char *key;
	json_t *value;
	int rc;

	*rule = (struct fault_rule){
	    .ops = (1u << IO_OP_COUNT) - 1,
	    .range = {0, INT64_MAX},
	    .probability = 1,
	};
	if (json_object_get(object, "action") == NULL) {
		return error_set(err, -EINVAL, "a rule is an object with an action");
	}
	json_object_foreach((json_t *)object, key, value)
	{
		rc = read_member(key, value, rule, err);
		if (rc != 0) {
			return rc;
		}
	}
	if (rule->action == ACTION_ERROR && rule->status == 0) {
		return error_set(err, -EINVAL, "an error rule needs an errno");
	}
	if (rule->action == ACTION_STOP && rule->tag[0] == '\0') {
		return error_set(err, -EINVAL, "a stop rule needs a tag");
	}
	return 0;
}

int fault_rules_parse(const json_t *rules, struct fault_rules **ret_rules, struct error *err)
{
	size_t nr = json_array_size(rules);
	struct fault_rules *set;
	int rc = 0;

	if (rules != NULL && !json_is_array(rules)) {
		return error_set(err, -EINVAL, "rules are an array");
	}
	set = calloc(1, sizeof(*set) + nr * sizeof(set->rules[0]));
	if (set == NULL) {
		return error_set(err, -ENOMEM, "out of memory");
	}
	for (size_t i = 0; i < nr && rc == 0; i++) {
		rc = read_rule(json_array_get(rules, i), &set->rules[i], err);
	}
	if (rc != 0) {
		free(set);
		return rc;
	}
	set->nr = nr;
	*ret_rules = set;
	return 0;
}

void fault_rules_free(struct fault_rules *rules)
{
	free(rules);
}

int fault_rules_resume(
    const struct fault_rules *rules, const char *tag, struct fault_rules **ret_rules)
{
	struct fault_rules *set = calloc(1, sizeof(*set) + rules->nr * sizeof(set->rules[0]));

	if (set == NULL) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < rules->nr; i++) {
		const struct fault_rule *rule = &rules->rules[i];

		if (rule->action != ACTION_STOP || strcmp(rule->tag, tag) != 0) {
			set->rules[set->nr++] = *rule;
		}
	}
	if (set->nr == rules->nr) {
		free(set);
		return -ENOENT;
	}
	*ret_rules = set;
	return 0;
}

/* -- judging -- */

static bool rule_applies(const struct fault_rule *rule, const struct io *io, struct prng *prng)
{
	if ((rule->ops & 1u << io->op) == 0 ||
	    (io_op_ranged(io->op) && !range_overlaps(rule->range, io_range(io)))) {
		return false;
	}
	return rule->probability >= 1 ||
	       (double)(prng_next(prng) >> 11) * 0x1p-53 < rule->probability;
}

static void apply(const struct fault_rule *rule, struct fault_verdict *v, struct prng *prng)
{
	switch (rule->action) {
	case ACTION_DELAY:
		v->delay_ns += rule->delay_us * NS_PER_US;
		if (rule->jitter_us > 0) {
			v->delay_ns += prng_below(prng, rule->jitter_us * NS_PER_US + 1);
		}
		return;
	case ACTION_CORRUPT:
		v->corrupt = true;
		return;
	case ACTION_ERROR:
		v->status = v->end == FAULT_PASS ? rule->status : v->status;
		v->end = v->end == FAULT_PASS ? FAULT_ERROR : v->end;
		return;
	case ACTION_STOP:
		v->end = v->end == FAULT_PASS ? FAULT_STOP : v->end;
		return;
	case ACTION_DROP:
		v->end = v->end == FAULT_PASS ? FAULT_DROP : v->end;
		return;
	}
}

struct fault_verdict fault_rules_judge(
    const struct fault_rules *rules, const struct io *io, struct prng *prng)
{
	struct fault_verdict v = {.end = FAULT_PASS};

	for (size_t i = 0; i < rules->nr; i++) {
		if (rule_applies(&rules->rules[i], io, prng)) {
			apply(&rules->rules[i], &v, prng);
		}
	}
	return v;
}
