typedef struct a *a_ptr;
