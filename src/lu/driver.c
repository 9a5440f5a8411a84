#include "lu/driver.h"

#include <string.h>

static const struct lu_driver *const drivers[] = {
    &lu_driver_file,
    &lu_driver_mem,
    &lu_driver_null,
    &lu_driver_nbd,
    &lu_driver_iscsi,
    &lu_driver_fault,
};

const struct lu_driver *lu_driver_at(unsigned i)
{
	return i < ARRAY_SIZE(drivers) ? drivers[i] : NULL;
}

const struct lu_driver *lu_driver_find(const char *kind)
{
	for (unsigned i = 0; i < ARRAY_SIZE(drivers); i++) {
		if (strcmp(drivers[i]->kind, kind) == 0) {
			return drivers[i];
		}
	}
	return NULL;
}
