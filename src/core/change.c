#include "core/change.h"

#include <errno.h>
#include <string.h>

const char *change_record_state_name(enum change_record_state state)
{
	static const char *const names[] = {
#define X(name, text, final) text,
	    CHANGE_RECORD_STATES(X)
#undef X
	};

	return state < CHANGE_RECORD_STATE_COUNT ? names[state] : "?";
}

bool change_record_state_final(enum change_record_state state)
{
	static const bool finals[] = {
#define X(name, text, final) final,
	    CHANGE_RECORD_STATES(X)
#undef X
	};

	return state < CHANGE_RECORD_STATE_COUNT && finals[state];
}

const char *change_store_kind_name(enum change_store_kind kind)
{
	static const char *const names[CHANGE_STORE_KIND_COUNT] = {
	    [CHANGE_STORE_READ] = "READ",
	    [CHANGE_STORE_PREPARE] = "PREPARE",
	    [CHANGE_STORE_CLAIM] = "CLAIM",
	    [CHANGE_STORE_COMMIT] = "COMMIT",
	    [CHANGE_STORE_ABORT] = "ABORT",
	    [CHANGE_STORE_ROLLBACK] = "ROLLBACK",
	    [CHANGE_STORE_DONE] = "DONE",
	};

	return kind < CHANGE_STORE_KIND_COUNT ? names[kind] : "?";
}

const char *change_store_result_name(enum change_store_result result)
{
	static const char *const names[CHANGE_STORE_RESULT_COUNT] = {
	    [CHANGE_STORE_OK] = "ok",
	    [CHANGE_STORE_CONFLICT] = "conflict",
	    [CHANGE_STORE_UNKNOWN] = "unknown",
	    [CHANGE_STORE_FAILED] = "failed",
	};

	return result < CHANGE_STORE_RESULT_COUNT ? names[result] : "?";
}

const char *change_message_name(enum change_message_type type)
{
	static const char *const names[] = {
#define X(name, text, from_coordinator) text,
	    CHANGE_MESSAGES(X)
#undef X
	};

	return type < CHANGE_MSG_COUNT ? names[type] : "?";
}

bool change_message_from_coordinator(enum change_message_type type)
{
	static const bool from[] = {
#define X(name, text, from_coordinator) from_coordinator,
	    CHANGE_MESSAGES(X)
#undef X
	};

	return type < CHANGE_MSG_COUNT && from[type];
}

const char *change_action_name(enum change_action action)
{
	static const char *const names[] = {
#define X(name, text) text,
	    CHANGE_ACTIONS(X)
#undef X
	};

	return action < CHANGE_ACT_COUNT ? names[action] : "?";
}

const char *change_state_name(enum change_state state)
{
	static const char *const names[CHANGE_STATE_COUNT] = {
	    [CHANGE_PREPARING] = "preparing",
	    [CHANGE_HOLDING] = "holding",
	    [CHANGE_COMMITTED] = "committed",
	    [CHANGE_DONE] = "done",
	    [CHANGE_ABORTED] = "aborted",
	    [CHANGE_ROLLED_BACK] = "rolled-back",
	};

	return state < CHANGE_STATE_COUNT ? names[state] : "?";
}

const struct change_policy change_policy_default = {
    .prepare_ns = 30 * NS_PER_S,
    .hold_ns = 2 * NS_PER_S,
    .drain_ns = 1 * NS_PER_S,
    .stall_ns = 250 * NS_PER_MS,
    .verify_ns = 500 * NS_PER_MS,
    .resend_ns = 250 * NS_PER_MS,
    .backoff_ns = 1 * NS_PER_S,
    .hold_retries = 3,
    .min_nodes = 2,
};

int change_policy_check(const struct change_policy *policy)
{
	const uint64_t longest = 3600 * NS_PER_S;
	const uint64_t parts[] = {policy->prepare_ns, policy->hold_ns, policy->drain_ns,
	    policy->stall_ns, policy->verify_ns, policy->resend_ns, policy->backoff_ns};

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		if (parts[i] == 0 || parts[i] > longest) {
			return -EINVAL;
		}
	}
	if (policy->drain_ns + policy->verify_ns > change_ask_after_ns(policy)) {
		return -EINVAL;
	}
	return policy->hold_retries <= CHANGE_HOLD_RETRIES_MAX ? 0 : -EINVAL;
}

uint64_t change_ask_after_ns(const struct change_policy *policy)
{
	return policy->hold_ns - policy->hold_ns / 8;
}

struct change_output *change_output_add(struct change_outputs *out, enum change_output_kind kind)
{
	struct change_output *o;

	sluice_assert(out->count < out->max);
	o = &out->items[out->count++];
	memset(o, 0, sizeof(*o));
	o->kind = kind;
	return o;
}

void change_text_copy(char text[CHANGE_REASON_MAX], const char *from)
{
	size_t n = from == NULL ? 0 : strnlen(from, CHANGE_REASON_MAX - 1);

	if (n > 0) {
		memmove(text, from, n);
	}
	text[n] = '\0';
}
