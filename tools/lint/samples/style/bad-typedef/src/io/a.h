typedef struct a {
	int x;
} a_t;
