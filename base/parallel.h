// A loop whose turns may run at the same time, for work that happens once and not all the time (threads are started and
// joined each call). What turn i does must depend on i alone, so that the result is the same for any number of threads.
#ifndef D2V_BASE_PARALLEL_H
#define D2V_BASE_PARALLEL_H

#include <stddef.h>

// Calls turn(context, i) once for each i < count, from at most `threads` threads, the caller's among them. Fewer when
// the system gives no more.
void d2v_parallel_for(size_t count, int threads, void (*turn)(void *context, size_t i), void *context);
int d2v_parallel_processors(void); // that this process may run on, at least 1

#endif
