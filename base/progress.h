// A progress line: rewritten in place on a terminal, a plain line now and then elsewhere, nothing when quiet.
//
//     files 1,234/28,539  12.1 h  9,100x real time  1.9 GB  312 files/s  left 1 m 28 s
//
// Threads: update from one thread. stderr only.
#ifndef D2V_BASE_PROGRESS_H
#define D2V_BASE_PROGRESS_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct d2v_progress d2v_progress;

d2v_status d2v_progress_new(d2v_progress **progress, bool quiet, d2v_error *err);
void d2v_progress_free(d2v_progress *progress); // ends the line; NULL is allowed

// At most a few times a second is anything printed; calling often is cheap. done/total (total 0: unknown) give the time left.
void d2v_progress_update(d2v_progress *progress, double done, double total, const char *format, ...) __attribute__((format(printf, 4, 5)));
// Prints the last state whatever the time.
void d2v_progress_finish(d2v_progress *progress);

double d2v_clock(void); // monotonic seconds
// "1 h 04 m", "1.9 GB", "12,345" into text, which is returned.
#define D2V_PROGRESS_TEXT 32
const char *d2v_progress_duration(double seconds, char text[D2V_PROGRESS_TEXT]);
const char *d2v_progress_bytes(double bytes, char text[D2V_PROGRESS_TEXT]);
const char *d2v_progress_count(uint64_t count, char text[D2V_PROGRESS_TEXT]);

#endif
