#include <string.h>

unsigned sum_helper(unsigned a, unsigned b);

void sum_copy(unsigned *to, const unsigned *from, unsigned n)
{
	memcpy(to, from, sum_helper(n, n));
}
