#include "base/macros.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void sluice_assert_failed(const char *cond, const char *file, int line)
{
	fprintf(stderr, "sluice: internal error: %s (%s:%d)\n", cond, file, line);
	abort();
}
