int good(int x)
{
	if (x) {
		return 1;
	} else if (x > 2) {
		return 2;
	} else {
		x++;
	}
	for (;;) {
		break;
	}
	do {
		x--;
	} while (x > 0);
	list_for_each (pos, head) {
		x++;
	}
	return x; /* if (x) return; */
}

typedef void (*callback)(struct s *s);
typedef struct s *(*maker)(void);
