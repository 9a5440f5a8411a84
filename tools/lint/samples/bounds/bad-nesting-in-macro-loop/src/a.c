int four_deep(int x)
{
	list_for_each (pos, head) {
		switch (x) {
		case 1:
			if (x) {
			} else {
				for (;;) {
				}
			}
		}
	}
	return x;
}
