#include "base/units.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char suffixes[] = "KMGT";

static int parse_size_prefix(const char *text, uint64_t *ret_bytes, const char **ret_end)
{
	const char *suffix;
	unsigned shift = 0;
	uint64_t v;
	char *end;

	if (!isdigit((unsigned char)text[0])) {
		return -EINVAL;
	}
	errno = 0;
	v = strtoull(text, &end, 10);
	if (errno != 0) {
		return -ERANGE;
	}
	if (*end != '\0' && (suffix = strchr(suffixes, toupper((unsigned char)*end))) != NULL) {
		shift = 10 * (unsigned)(suffix - suffixes + 1);
		end++;
	}
	if (shift != 0 && v > UINT64_MAX >> shift) {
		return -ERANGE;
	}
	*ret_bytes = v << shift;
	*ret_end = end;
	return 0;
}

int units_parse_size(const char *text, uint64_t *ret_bytes)
{
	const char *end;
	uint64_t v;
	int rc = parse_size_prefix(text, &v, &end);

	if (rc != 0) {
		return rc;
	}
	if (*end != '\0') {
		return -EINVAL;
	}
	*ret_bytes = v;
	return 0;
}

int units_parse_range(const char *text, uint64_t *ret_offset, uint64_t *ret_length)
{
	const char *end;
	uint64_t offset;
	uint64_t length;
	int rc = parse_size_prefix(text, &offset, &end);

	if (rc != 0) {
		return rc;
	}
	if (*end != '+') {
		return -EINVAL;
	}
	rc = units_parse_size(end + 1, &length);
	if (rc != 0) {
		return rc;
	}
	*ret_offset = offset;
	*ret_length = length;
	return 0;
}

const char *units_format_size(uint64_t bytes, char *buf, size_t len)
{
	int unit = -1;

	while (bytes != 0 && bytes % 1024 == 0 && unit < 3) {
		bytes /= 1024;
		unit++;
	}
	if (unit < 0) {
		snprintf(buf, len, "%" PRIu64, bytes);
	} else {
		snprintf(buf, len, "%" PRIu64 "%c", bytes, suffixes[unit]);
	}
	return buf;
}

const char *units_format_us(uint64_t us, char *buf, size_t len)
{
	if (us < 1000) {
		snprintf(buf, len, "%" PRIu64 " us", us);
	} else if (us < 1000000) {
		snprintf(buf, len, "%.1f ms", (double)us / 1e3);
	} else {
		snprintf(buf, len, "%.2f s", (double)us / 1e6);
	}
	return buf;
}
