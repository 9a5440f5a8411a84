#include <stdlib.h>

void *grow(void)
{
	return malloc(100);
}
