int bad(int x)
{
	while (x--)
		;
	return 0;
}
