#include "core/hold.h"

bool hold_concerns(const struct hold_token *token, const struct hold_op *op)
{
	if (!op->ranged) {
		return true;
	}
	if (token->kind == HOLD_WRITES && !op->changes) {
		return false;
	}
	for (size_t i = 0; i < token->nr_ranges; i++) {
		if (range_overlaps(token->ranges[i], op->range)) {
			return true;
		}
	}
	return false;
}

bool hold_op_overlaps(const struct hold_op *a, const struct hold_op *b)
{
	return !a->ranged || !b->ranged || range_overlaps(a->range, b->range);
}

bool hold_channel_begin(struct hold_channel *hc, uint64_t in_flight)
{
	sluice_assert(!hc->draining);
	hc->in_flight = in_flight;
	hc->draining = in_flight > 0;
	return !hc->draining;
}

bool hold_channel_done(struct hold_channel *hc)
{
	sluice_assert(hc->draining && hc->in_flight > 0);
	hc->in_flight--;
	hc->draining = hc->in_flight > 0;
	return !hc->draining;
}

void hold_drain_begin(struct hold_drain *d, unsigned nr_channels)
{
	sluice_assert(nr_channels > 0);
	d->channels_left = nr_channels;
}

bool hold_drain_channel(struct hold_drain *d)
{
	sluice_assert(d->channels_left > 0);
	d->channels_left--;
	return d->channels_left == 0;
}

static bool any_concerns(
    const struct hold_token *const *tokens, size_t nr_tokens, const struct hold_op *op)
{
	for (size_t i = 0; i < nr_tokens; i++) {
		if (hold_concerns(tokens[i], op)) {
			return true;
		}
	}
	return false;
}

/* Only those that came before node and have to stay are still in front of it. */
static bool waits_behind_another(
    struct list *held, const struct list *node, hold_op_fn op_of, const struct hold_op *op)
{
	list_for_each (pos, held) {
		struct hold_op earlier;

		if (pos == node) {
			return false;
		}
		earlier = op_of(pos);
		if (hold_op_overlaps(&earlier, op)) {
			return true;
		}
	}
	return false;
}

void hold_release(struct list *held, struct list *ready, hold_op_fn op_of,
    const struct hold_token *const *tokens, size_t nr_tokens)
{
	if (nr_tokens == 0) {
		list_splice(ready, held);
		return;
	}
	list_for_each_safe (pos, held) {
		struct hold_op op = op_of(pos);

		if (!any_concerns(tokens, nr_tokens, &op) &&
		    !waits_behind_another(held, pos, op_of, &op)) {
			list_remove(pos);
			list_append(ready, pos);
		}
	}
}
