unsigned sum_helper(unsigned a, unsigned b);

unsigned sum_helper(unsigned a, unsigned b)
{
	return a + b;
}
