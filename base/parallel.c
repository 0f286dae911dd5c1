#include "base/parallel.h"

#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

#define THREADS_MAX 64

typedef struct loop {
	size_t count;
	_Atomic size_t next;
	void (*turn)(void *context, size_t i);
	void *context;
} loop;

static void *take_turns(void *argument) {
	loop *l = argument;
	for (size_t i; (i = atomic_fetch_add(&l->next, 1)) < l->count;)
		l->turn(l->context, i);
	return NULL;
}

void d2v_parallel_for(size_t count, int threads, void (*turn)(void *context, size_t i), void *context) {
	pthread_t others[THREADS_MAX];
	int started = 0;
	loop l = { .count = count, .turn = turn, .context = context };
	while (started + 1 < threads && started < THREADS_MAX && (size_t)started + 1 < count &&
		   pthread_create(&others[started], NULL, take_turns, &l) == 0)
		started++;
	take_turns(&l);
	while (started)
		pthread_join(others[--started], NULL);
}

// Numbers at the beginning of a file of the control group; how many there were.
static int read_numbers(const char *folder, const char *name, double *first, double *second) {
	char path[512];
	snprintf(path, sizeof path, "%s/%s", folder, name);
	FILE *file = fopen(path, "re");
	if (!file)
		return 0;
	int found = fscanf(file, "%lf %lf", first, second);
	fclose(file);
	return found;
}

int d2v_parallel_quota(const char *folder) {
	double quota = 0, period = 0, none;
	if (read_numbers(folder, "cpu.max", &quota, &period) != 2) {               // "max 100000": no limit
		if (read_numbers(folder, "cpu/cpu.cfs_quota_us", &quota, &none) < 1 || // version 1; -1: no limit
			read_numbers(folder, "cpu/cpu.cfs_period_us", &period, &none) < 1)
			return 0;
	}
	return quota > 0 && period > 0 && quota / period < INT_MAX ? (int)ceil(quota / period) : 0;
}

int d2v_parallel_processors(void) {
	cpu_set_t set;
	int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
	int quota = d2v_parallel_quota("/sys/fs/cgroup");
	if (quota && quota < count)
		count = quota;
	return count < 1 ? 1 : count;
}
