/*
 * iscsi://[user%secret@]host[:port]/target-name/lun, the form that libiscsi and QEMU use. Pure, any
 * thread.
 */
#pragma once

#include "base/error.h"

struct iscsi_address {
	char user[128];	  /* "" = no authentication */
	char secret[128]; /* CHAP, RFC 7143 section 12.1.3 */
	char host[256];	  /* without brackets */
	char port[12];	  /* "3260" unless given */
	char target[224]; /* RFC 7143 section 4.2.7.1: at most 223 bytes */
	unsigned lun;	  /* 0..255: peripheral device addressing of SAM */
};

int iscsi_address_parse(const char *text, struct iscsi_address *ret_address, struct error *err);
