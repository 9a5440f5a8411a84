void bad(int x)
{
	list_for_each (pos, head)
		x++;
}
