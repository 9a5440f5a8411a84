#include <pthread.h>

void lock(pthread_mutex_t *m)
{
	pthread_mutex_lock(m);
}
