/* Values of the API's documents, as people read them. A member that is missing reads as nothing. */
#include <inttypes.h>
#include <string.h>

#include "base/units.h"
#include "cli.h"

const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text != NULL ? text : "";
}

const char *text_or_dash(const json_t *object, const char *key)
{
	const char *text = text_of(object, key);

	return text[0] != '\0' ? text : "-";
}

static uint64_t number_of(const json_t *object, const char *key)
{
	double v = json_number_value(json_object_get(object, key));

	return v > 0 ? (uint64_t)(v + 0.5) : 0;
}

const char *size_of(const json_t *object, const char *key, char *buf, size_t len)
{
	json_int_t v = json_integer_value(json_object_get(object, key));

	return v > 0 ? units_format_size((uint64_t)v, buf, len) : "-";
}

const char *bytes_of(const json_t *object, const char *key, char *buf, size_t len)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	double v = json_number_value(json_object_get(object, key));
	unsigned unit = 0;

	while (v >= 1024 && unit + 1 < ARRAY_SIZE(units)) {
		v /= 1024;
		unit++;
	}
	snprintf(buf, len, unit == 0 ? "%.0f %s" : "%.1f %s", v, units[unit]);
	return buf;
}

const char *us_of(const json_t *object, const char *key, char *buf, size_t len)
{
	uint64_t us = number_of(object, key);

	return us > 0 ? units_format_us(us, buf, len) : "-";
}

const char *count_of(const json_t *object, const char *key, char *buf, size_t len)
{
	snprintf(buf, len, "%" PRIu64, number_of(object, key));
	return buf;
}

const char *list_of(const json_t *object, const char *key, char *buf, size_t len)
{
	json_t *list = json_object_get(object, key);
	json_t *element;
	size_t i;
	size_t n = 0;

	buf[0] = '\0';
	json_array_foreach(list, i, element)
	{
		const char *comma = i > 0 ? ", " : "";

		if (n >= len) {
			break;
		}
		if (json_is_string(element)) {
			n += (size_t)snprintf(
			    buf + n, len - n, "%s%s", comma, json_string_value(element));
		} else {
			n += (size_t)snprintf(buf + n, len - n, "%s%jd", comma,
			    (intmax_t)json_integer_value(element));
		}
	}
	return buf[0] != '\0' ? buf : "-";
}

const char *time_of(const json_t *object, const char *key, char *buf, size_t len)
{
	const char *text = text_of(object, key);

	if (text[0] == '\0') {
		return "-";
	}
	snprintf(buf, len, "%.19s", text);
	if (strlen(buf) > 10 && buf[10] == 'T') {
		buf[10] = ' ';
	}
	return buf;
}

const char *active_of(const json_t *volume, char *buf, size_t len)
{
	json_t *active = json_object_get(volume, "active");
	json_t *element;
	size_t i;
	size_t n = 0;

	buf[0] = '\0';
	json_array_foreach(active, i, element)
	{
		const char *via = text_of(element, "via");
		const char *state = text_of(element, "state");

		if (n >= len) {
			break;
		}
		n += (size_t)snprintf(
		    buf + n, len - n, "%s%s", i > 0 ? ", " : "", via[0] != '\0' ? via : "no path");
		if (n < len && strcmp(state, "up") != 0 && state[0] != '\0') {
			n += (size_t)snprintf(buf + n, len - n, " (%s)", state);
		}
	}
	return buf[0] != '\0' ? buf : "-";
}
