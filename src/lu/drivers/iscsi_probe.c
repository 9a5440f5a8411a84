/*
 * What a new link asks before it carries requests. The home link fills the session; the others only
 * make sure that they see the same LU.
 */
#include "lu/drivers/iscsi.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MAX_PROBE_TRIES 100
#define INQUIRY_BYTES 255
#define MAX_TRANSFER (8u << 20)
#define MAX_BLOCKS_PER_COMMAND (1u << 20)
/* SPC, sense codes (ASC << 8 | ASCQ). */
#define ASC_SPACE_ALLOCATION_FAILED 0x2707
#define ASC_INVALID_OPCODE 0x2000
#define ASC_LUN_NOT_SUPPORTED 0x2500
#define SENSE_ABORTED_COMMAND 0x0b

enum probe_step {
	PROBE_READY,
	PROBE_CAPACITY,
	PROBE_IDENTITY,
	PROBE_LIMITS,
	PROBE_PROVISIONING,
	PROBE_MODE,
	PROBE_LBA_STATUS,
	PROBE_END,
};

int iscsi_map_status(int status, const struct scsi_sense *sense, bool *ret_busy)
{
	*ret_busy = false;
	switch (status) {
	case SCSI_STATUS_GOOD:
	case SCSI_STATUS_CONDITION_MET:
		return 0;
	case SCSI_STATUS_BUSY:
	case SCSI_STATUS_TASK_SET_FULL:
	case SCSI_STATUS_ACA_ACTIVE:
	case SCSI_STATUS_TASK_ABORTED:
		*ret_busy = true;
		return IO_REQUEUE;
	case SCSI_STATUS_RESERVATION_CONFLICT:
		return -EBADE; /* as the kernel's block layer says it */
	case SCSI_STATUS_CHECK_CONDITION:
		break;
	default: /* the library's own: cancelled, error, time-out; or what no standard knows */
		return -ENOTCONN;
	}
	switch ((int)sense->key) {
	case SCSI_SENSE_NO_SENSE:
	case SCSI_SENSE_RECOVERED_ERROR:
		return 0;
	case SCSI_SENSE_UNIT_ATTENTION:
		return IO_REQUEUE;
	case SENSE_ABORTED_COMMAND:
	case SCSI_SENSE_NOT_READY:
		*ret_busy = true;
		return IO_REQUEUE;
	case SCSI_SENSE_DATA_PROTECTION:
		return sense->ascq == ASC_SPACE_ALLOCATION_FAILED ? -ENOSPC : -EROFS;
	case SCSI_SENSE_ILLEGAL_REQUEST:
		if (sense->ascq == ASC_LUN_NOT_SUPPORTED) {
			return -ESHUTDOWN; /* no longer ours to reach */
		}
		return sense->ascq == ASC_INVALID_OPCODE ? -EOPNOTSUPP : -EINVAL;
	default: /* medium, hardware, and whatever else a device says */
		return -EIO;
	}
}

static void on_probe(struct iscsi_context *iscsi, int status, void *data, void *private_data)
{
	struct iscsi_link *l = private_data;

	if (!l->dropping) {
		l->step_done = true;
		l->step_status = status;
	}
}

static struct scsi_task *queue_probe(struct iscsi_link *l)
{
	int lun = (int)iscsi_session_of(l)->address.lun;

	switch ((enum probe_step)l->step) {
	case PROBE_READY:
		return iscsi_testunitready_task(l->iscsi, lun, on_probe, l);
	case PROBE_CAPACITY:
		return iscsi_readcapacity16_task(l->iscsi, lun, on_probe, l);
	case PROBE_IDENTITY:
		return iscsi_inquiry_task(l->iscsi, lun, 1,
		    SCSI_INQUIRY_PAGECODE_DEVICE_IDENTIFICATION, INQUIRY_BYTES, on_probe, l);
	case PROBE_LIMITS:
		return iscsi_inquiry_task(l->iscsi, lun, 1, SCSI_INQUIRY_PAGECODE_BLOCK_LIMITS,
		    INQUIRY_BYTES, on_probe, l);
	case PROBE_PROVISIONING:
		return iscsi_inquiry_task(l->iscsi, lun, 1,
		    SCSI_INQUIRY_PAGECODE_LOGICAL_BLOCK_PROVISIONING, INQUIRY_BYTES, on_probe, l);
	case PROBE_MODE:
		return iscsi_modesense6_task(l->iscsi, lun, 1, SCSI_MODESENSE_PC_CURRENT,
		    SCSI_MODEPAGE_RETURN_ALL_PAGES, 0, INQUIRY_BYTES, on_probe, l);
	case PROBE_LBA_STATUS:
		return iscsi_get_lba_status_task(l->iscsi, lun, 0, 24, on_probe, l);
	case PROBE_END:
		break;
	}
	return NULL;
}

bool iscsi_probe_send(struct iscsi_link *l)
{
	l->step_done = false;
	l->probe_task = queue_probe(l);
	return l->probe_task != NULL;
}

static int read_capacity(struct iscsi_link *l, struct error *err)
{
	struct iscsi_session *s = iscsi_session_of(l);
	const struct scsi_readcapacity16 *c = scsi_datain_unmarshall(l->probe_task);
	struct io_target *t = &s->session.lu.target;
	uint64_t size;

	if (c == NULL || c->block_length < 512 || c->block_length > 65536 ||
	    (c->block_length & (c->block_length - 1)) != 0 ||
	    c->returned_lba >= UINT64_MAX / c->block_length - 1) {
		return error_set(err, -EINVAL, "the LU has a geometry that makes no sense");
	}
	size = (c->returned_lba + 1) * c->block_length;
	if (l->link.index != s->session.home) {
		return size == t->size && c->block_length == s->block_size
			   ? 0
			   : error_set(err, -ENOTCONN, "another session shows another size");
	}
	s->block_size = c->block_length;
	s->zeroes_when_unmapped = c->lbprz != 0;
	t->size = size;
	t->limits = (struct io_limits){
	    .block_size = c->block_length,
	    .preferred_size = MAX(4096u, MIN(1u << 20, c->block_length << MIN(c->lbppbe, 8))),
	    .max_transfer = MAX_TRANSFER,
	    .max_iov = 1024,
	    .memory_alignment = 1,
	    .fua = true,
	    .flush = true,
	    .coherent = true, /* one LU, one cache, however many sessions: SBC, SYNCHRONIZE CACHE */
	};
	return 0;
}

/* SPC, Device Identification VPD page: NAA is unique in the world, then EUI-64, then vendor's. */
static unsigned rank_of(const struct scsi_inquiry_device_designator *d)
{
	if (d->association != SCSI_ASSOCIATION_LOGICAL_UNIT || d->designator_length <= 0 ||
	    d->designator == NULL) {
		return 0;
	}
	if (d->designator_type == SCSI_DESIGNATOR_TYPE_NAA) {
		return 3;
	}
	if (d->designator_type == SCSI_DESIGNATOR_TYPE_EUI_64) {
		return 2;
	}
	return d->designator_type == SCSI_DESIGNATOR_TYPE_T10_VENDORT_ID ? 1 : 0;
}

static void format_identity(const struct scsi_inquiry_device_designator *d, char *buf, size_t len)
{
	static const char *const names[] = {"", "t10", "eui", "naa"};
	unsigned rank = rank_of(d);
	size_t n = (size_t)snprintf(buf, len, "scsi:%s.", names[rank]);

	for (int i = 0; i < d->designator_length; i++) {
		unsigned char c = (unsigned char)d->designator[i];
		bool plain = rank == 1 && c > ' ' && c < 0x7f;
		bool padding = rank == 1 && (c == ' ' || c == '\0');

		if (n + 3 > len) {
			break;
		}
		if (!padding) {
			n += (size_t)snprintf(buf + n, len - n, plain ? "%c" : "%02x", c);
		}
	}
}

static int read_identity(struct iscsi_link *l, struct error *err)
{
	struct session *s = l->link.session;
	const struct scsi_inquiry_device_identification *page =
	    scsi_datain_unmarshall(l->probe_task);
	const struct scsi_inquiry_device_designator *best = NULL;
	struct lu_identity identity = {0};

	for (const struct scsi_inquiry_device_designator *d = page == NULL ? NULL
									   : page->designators;
	     d != NULL; d = d->next) {
		if (rank_of(d) > (best == NULL ? 0 : rank_of(best))) {
			best = d;
		}
	}
	if (best != NULL) {
		format_identity(best, identity.text, sizeof(identity.text));
	}
	if (l->link.index == s->home) {
		s->lu.identity = identity;
	} else if (strcmp(identity.text, s->lu.identity.text) != 0) {
		return error_set(err, -ENOTCONN, "another session shows another LU");
	}
	return 0;
}

static void read_limits(struct iscsi_session *s, struct scsi_task *task)
{
	const struct scsi_inquiry_block_limits *page = scsi_datain_unmarshall(task);
	struct io_limits *limits = &s->session.lu.target.limits;
	uint64_t granularity;

	if (page == NULL) {
		return;
	}
	if (page->max_xfer_len > 0) {
		limits->max_transfer = (uint32_t)MIN(
		    (uint64_t)page->max_xfer_len * s->block_size, limits->max_transfer);
	}
	if (page->max_unmap > 0 && page->max_unmap_bdc > 0) {
		granularity = (uint64_t)MAX(page->opt_unmap_gran, 1u) * s->block_size;
		s->max_unmap_blocks = MIN(page->max_unmap, MAX_BLOCKS_PER_COMMAND);
		limits->discard_granularity = (uint32_t)MIN(granularity, 1u << 30);
	}
	/* 0 = no limit is reported: SBC, Block Limits VPD page. */
	s->max_same_blocks = page->max_ws_len > 0 ? MIN(page->max_ws_len, MAX_BLOCKS_PER_COMMAND)
						  : MAX_BLOCKS_PER_COMMAND;
}

static void read_provisioning(struct iscsi_session *s, struct scsi_task *task)
{
	const struct scsi_inquiry_logical_block_provisioning *page = scsi_datain_unmarshall(task);
	struct io_limits *limits = &s->session.lu.target.limits;

	if (page == NULL || !page->lbpu) {
		s->max_unmap_blocks = 0;
		limits->discard_granularity = 0;
	}
	if (page == NULL || !page->lbpws || !s->zeroes_when_unmapped) {
		s->max_same_blocks = 0;
	}
	limits->write_zeroes = s->max_same_blocks > 0;
}

static int take(struct iscsi_link *l, struct error *err)
{
	struct iscsi_session *s = iscsi_session_of(l);
	bool home = l->link.index == s->session.home;
	const struct scsi_mode_sense *mode;

	switch ((enum probe_step)l->step) {
	case PROBE_CAPACITY:
		return read_capacity(l, err);
	case PROBE_IDENTITY:
		return read_identity(l, err);
	case PROBE_LIMITS:
		if (home) {
			read_limits(s, l->probe_task);
		}
		break;
	case PROBE_PROVISIONING:
		if (home) {
			read_provisioning(s, l->probe_task);
		}
		break;
	case PROBE_MODE:
		mode = scsi_datain_unmarshall(l->probe_task);
		/* SBC, mode parameter header: bit 7 of the device-specific byte is WP. */
		if (home && mode != NULL) {
			s->session.lu.target.limits.read_only =
			    (mode->device_specific_parameter & 0x80) != 0;
		}
		break;
	case PROBE_LBA_STATUS:
		if (home) {
			s->lba_status = true;
			s->session.lu.target.limits.block_status = true;
		}
		break;
	case PROBE_READY:
	case PROBE_END:
		break;
	}
	return 0;
}

/* A device without an optional page keeps the careful values. */
static void skip(struct iscsi_link *l)
{
	struct iscsi_session *s = iscsi_session_of(l);

	if (l->step == PROBE_PROVISIONING && l->link.index == s->session.home) {
		s->max_unmap_blocks = 0;
		s->max_same_blocks = 0;
		s->session.lu.target.limits.discard_granularity = 0;
	}
}

int iscsi_probe_next(struct iscsi_link *l, struct error *err)
{
	bool busy;
	int r = iscsi_map_status(l->step_status, &l->probe_task->sense, &busy);
	bool optional = l->step > PROBE_CAPACITY;

	if (r == 0) {
		r = take(l, err);
	} else if (r == IO_REQUEUE && ++l->tries <= MAX_PROBE_TRIES) {
		l->step--; /* the same again */
		r = 0;
	} else if (optional && !io_status_is_transport(r)) {
		skip(l);
		r = 0;
	} else {
		r = error_set(err, r == IO_REQUEUE ? -EBUSY : r, "the LU does not answer: %s",
		    iscsi_get_error(l->iscsi));
		error_hint(err, "check the LUN, and the target's access list for this initiator");
	}
	scsi_free_scsi_task(l->probe_task);
	l->probe_task = NULL;
	if (r < 0) {
		return r;
	}
	l->step++;
	return l->step == PROBE_END ? 1 : 0;
}
