/*
 * Checks that all drivers make on an address: known members only, the right types, required ones
 * there. What a value means is checked by the driver. Pure, any thread.
 */
#pragma once

#include <jansson.h>

#include "base/error.h"

struct address_member {
	const char *name;
	json_type type; /* JSON_STRING, JSON_INTEGER or JSON_TRUE (a boolean) */
	bool required;
	const char *example; /* for the hint */
};

int address_check(
    const json_t *address, const struct address_member *members, unsigned count, struct error *err);
/* A size in bytes: > 0 and a multiple of 512. */
int address_check_size(const json_t *address, const char *name, struct error *err);
/* "" or 0 when it is not there. */
const char *address_string(const json_t *address, const char *name);
uint64_t address_integer(const json_t *address, const char *name);
