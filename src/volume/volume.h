/*
 * Volumes as the control loop sees them: what a client sees as one disk. A volume is a size and an
 * active face; all its requests pass one gate, where a byte range can be held while what is behind
 * it is changed.
 *
 * Thread rule: control loop. The request side is in volume_io.h.
 */
#pragma once

#include "core/hold.h"
#include "io/target.h"
#include "reactor/group.h"

struct volume;
struct face;
struct volume_hold;

/* -- faces: immutable extent maps -- */

struct face_extent {
	uint64_t offset;	  /* bytes in the volume */
	uint64_t length;	  /* bytes */
	struct io_target *target; /* NULL: reads as zeros, refuses writes */
	uint64_t target_offset;	  /* bytes in the target */
};

/*
 * extents: in order of offset, without overlap; gaps are unmapped. The targets outlive the face.
 * -EINVAL with the reason when an extent leaves the volume or its target, overlaps, or is not a
 * multiple of a target's block size.
 */
int face_new(uint64_t volume_size, uint64_t generation, const struct face_extent *extents,
    size_t nr_extents, struct face **ret_face, struct error *err);
/* Nobody may use it any more: after volume_publish() of another one has completed. */
void face_free(struct face *f);
uint64_t face_generation(const struct face *f);
size_t face_extent_count(const struct face *f);
const struct face_extent *face_extent(const struct face *f, size_t i);
/* The limits that hold on every target of it. */
const struct io_limits *face_limits(const struct face *f);

/* -- volumes -- */

/* Takes face as the active one; it stays the caller's to free. */
int volume_new(struct reactor_group *group, const char *name, uint64_t size, struct face *face,
    struct volume **ret_volume, struct error *err);
/* No export may use it, no hold may be active. freed(ctx) when all reactors have let go; then the
 * face can be freed. */
void volume_free(struct volume *v, void (*freed)(void *ctx), void *ctx);
const char *volume_name(const struct volume *v);
/* What exports serve. */
struct io_target *volume_target(struct volume *v);
struct face *volume_face(const struct volume *v);
uint64_t volume_in_flight(const struct volume *v); /* requests below the gate */
uint64_t volume_held(const struct volume *v);	   /* requests that wait at the gate */

/*
 * Makes face the active one on every reactor, a pointer swap each; done(ctx) when all have it. The
 * affected ranges must be held and drained (I2), unless both faces lead to the same place. -ENOMEM:
 * nothing was done.
 */
int volume_publish(struct volume *v, struct face *face, void (*done)(void *ctx), void *ctx);

struct volume_hold_params {
	const struct range *ranges;
	size_t nr_ranges;
	enum hold_kind kind; /* core/hold.h */
	/* When every request that overlaps and was in flight is done; drain_us from the start of
	 * the hold. */
	void (*drained)(void *ctx, struct volume_hold *hold, uint64_t drain_us);
	void *ctx;
};
/* Begins at once on every reactor. The hold is ended by volume_release() alone: the caller keeps
 * the deadline. */
int volume_hold(
    struct volume *v, const struct volume_hold_params *params, struct volume_hold **ret_hold);

struct volume_hold_result {
	uint64_t held_requests; /* that waited at the gate */
	uint64_t held_us;	/* from the first request held to the release; 0 when none was */
	uint64_t drain_us;	/* 0 when it was released before it had drained */
};
/*
 * Ends the hold, drained or not (drained() does not come any more). Held requests that no other
 * hold covers run, in the order in which they came, on the face that is active now; done(ctx) when
 * every reactor has let go. hold is gone then.
 */
void volume_release(struct volume_hold *hold,
    void (*done)(void *ctx, const struct volume_hold_result *result), void *ctx);
/* Requests that this hold has made wait so far. */
uint64_t volume_held_requests(const struct volume_hold *hold);
