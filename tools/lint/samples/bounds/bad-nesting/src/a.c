int four_deep(int x)
{
	for (int i = 0; i < x; i++) {
		if (x > 1) {
			do {
				if (x > 2) {
					x--;
				}
			} while (x > 0);
		}
	}
	return x;
}
