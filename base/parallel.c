#include "base/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

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

int d2v_parallel_processors(void) {
	cpu_set_t set;
	int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
	return count < 1 ? 1 : count;
}
