// A loop whose turns may run at the same time, for work that happens once and not all the time (threads are started and
// joined each call). What turn i does must depend on i alone, so that the result is the same for any number of threads.
#ifndef D2V_BASE_PARALLEL_H
#define D2V_BASE_PARALLEL_H

#include <stddef.h>

// Calls turn(context, i) once for each i < count, from at most `threads` threads, the caller's among them. Fewer when
// the system gives no more.
void d2v_parallel_for(size_t count, int threads, void (*turn)(void *context, size_t i), void *context);
// That this process may run on, at least 1: those of its affinity, and no more than what the time that its container may
// use makes up (docker's --cpus, the limits of Kubernetes), which are not said anywhere else and which more threads than that
// would only wait for.
int d2v_parallel_processors(void);
// Of the control group at `folder` (/sys/fs/cgroup): processors whose whole time it may use, rounded up; 0: no limit.
int d2v_parallel_quota(const char *folder);

#endif
