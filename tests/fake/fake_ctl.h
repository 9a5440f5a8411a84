/*
 * A control plane that answers what the test says, and keeps what it was asked: for what stands in
 * front of ctl.
 *
 * Thread rule: fake_ctl_say(), fake_ctl_emit(), fake_ctl_forget(), fake_ctl_hold(), fake_ctl_release() and
 * fake_ctl_wait() from any thread; the rest as ctl.h and events.h.
 */
#pragma once

#include "ctl/events.h"

/* NULL when memory is out. */
struct ctl *fake_ctl_new(void);
void fake_ctl_free(struct ctl *ctl);

/* From now on every operation succeeds with the JSON text `result`, or fails with -code. */
void fake_ctl_say(struct ctl *ctl, const char *result, int code);
/* From now on answers wait for fake_ctl_release(), which must run on the control loop. */
void fake_ctl_hold(struct ctl *ctl);
void fake_ctl_release(struct ctl *ctl);
/* Waits until `count` operations have arrived since the start. */
void fake_ctl_wait(struct ctl *ctl, unsigned count);
/* The last operation and its parameters as JSON text with sorted keys; free it. */
enum ctl_op fake_ctl_last(struct ctl *ctl, char **ret_params);

/* Control loop. */
void fake_ctl_emit(struct ctl *ctl, const char *type, const char *message);
/* Forgets the events up to seq. */
void fake_ctl_forget(struct ctl *ctl, uint64_t seq);
