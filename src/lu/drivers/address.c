#include "lu/drivers/address.h"

#include <errno.h>
#include <string.h>

static const char *type_name(json_type type)
{
	switch (type) {
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
		return "a whole number";
	case JSON_TRUE:
	case JSON_FALSE:
		return "true or false";
	case JSON_REAL:
	case JSON_OBJECT:
	case JSON_ARRAY:
	case JSON_NULL:
		break;
	}
	return "something else";
}

static const struct address_member *find_member(
    const struct address_member *members, unsigned count, const char *name)
{
	for (unsigned i = 0; i < count; i++) {
		if (strcmp(members[i].name, name) == 0) {
			return &members[i];
		}
	}
	return NULL;
}

static bool type_fits(const struct address_member *m, const json_t *value)
{
	return m->type == JSON_TRUE ? json_is_boolean(value) : json_typeof(value) == m->type;
}

/* The first required member is what an address is about, so its example tells most. */
static void with_example(const struct address_member *members, struct error *err)
{
	error_hint(err, "e.g. {\"%s\": %s}", members[0].name, members[0].example);
}

int address_check(
    const json_t *address, const struct address_member *members, unsigned count, struct error *err)
{
	const char *name;
	json_t *value;

	if (!json_is_object(address)) {
		error_set(err, -EINVAL, "the address is not an object");
		with_example(members, err);
		return -EINVAL;
	}
	json_object_foreach((json_t *)address, name, value)
	{
		const struct address_member *m = find_member(members, count, name);

		if (m == NULL) {
			error_set(err, -EINVAL, "unknown address member \"%.64s\"", name);
			with_example(members, err);
			return -EINVAL;
		}
		if (!type_fits(m, value)) {
			error_set(err, -EINVAL, "address member \"%s\" must be %s", name,
			    type_name(m->type));
			error_hint(err, "e.g. %s", m->example);
			return -EINVAL;
		}
	}
	for (unsigned i = 0; i < count; i++) {
		if (members[i].required && json_object_get(address, members[i].name) == NULL) {
			error_set(
			    err, -EINVAL, "address member \"%s\" is missing", members[i].name);
			error_hint(err, "e.g. %s", members[i].example);
			return -EINVAL;
		}
	}
	return 0;
}

int address_check_size(const json_t *address, const char *name, struct error *err)
{
	const json_t *value = json_object_get(address, name);

	if (value == NULL) {
		return 0;
	}
	if (json_integer_value(value) <= 0 || json_integer_value(value) % 512 != 0) {
		error_set(err, -EINVAL, "\"%s\" must be above 0 and a multiple of 512 bytes", name);
		error_hint(err, "e.g. 1073741824");
		return -EINVAL;
	}
	return 0;
}

const char *address_string(const json_t *address, const char *name)
{
	const char *text = json_string_value(json_object_get(address, name));

	return text == NULL ? "" : text;
}

uint64_t address_integer(const json_t *address, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(address, name));
}
