#include "usage.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/macros.h"

static uint64_t read_clock(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint64_t usage_clock_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

/* The first number of schedstat is the time on a processor, in nanoseconds (proc(5) has only
 * ticks). */
static uint64_t thread_ns(pid_t pid, const char *tid)
{
	uint64_t ns = 0;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%.16s/schedstat", (int)pid, tid);
	file = fopen(path, "re");
	if (file == NULL) {
		return 0;
	}
	if (fscanf(file, "%" SCNu64, &ns) != 1) {
		ns = 0;
	}
	fclose(file);
	return ns;
}

static uint64_t process_ns(pid_t pid)
{
	const struct dirent *entry;
	uint64_t ns = 0;
	char path[32];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (dir == NULL) {
		return 0;
	}
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] != '.') {
			ns += thread_ns(pid, entry->d_name);
		}
	}
	closedir(dir);
	return ns;
}

static uint64_t machine_ns(void)
{
	/* user, nice, system, idle, iowait, irq, softirq, steal */
	uint64_t ticks[8] = {0};
	FILE *file = fopen("/proc/stat", "re");
	uint64_t busy;
	int n;

	if (file == NULL) {
		return 0;
	}
	n = fscanf(file,
	    "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
	    " %" SCNu64,
	    &ticks[0], &ticks[1], &ticks[2], &ticks[3], &ticks[4], &ticks[5], &ticks[6], &ticks[7]);
	fclose(file);
	if (n != 8) {
		return 0;
	}
	busy = ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6] + ticks[7];
	return busy * (NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK));
}

struct usage usage_read(pid_t server)
{
	return (struct usage){
	    .clock_ns = usage_clock_ns(),
	    .self_ns = read_clock(CLOCK_PROCESS_CPUTIME_ID),
	    .server_ns = server > 0 ? process_ns(server) : 0,
	    .machine_ns = machine_ns(),
	};
}
