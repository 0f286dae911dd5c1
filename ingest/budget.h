// Bytes in flight: what all workers together may hold, handed out so that nobody waits for ever.
//
// A reservation waits until it fits, with one exception: the oldest ticket of the pipeline (the one the consumer waits
// for) gets what it asks for at once. So memory stays below the limit plus one sample, and there is always one who can
// go on. Threads: any.
#ifndef D2V_INGEST_BUDGET_H
#define D2V_INGEST_BUDGET_H

#include "base/error.h"

#include <stdint.h>

typedef struct d2v_budget d2v_budget;

d2v_status d2v_budget_new(d2v_budget **budget, uint64_t limit, d2v_error *err);
void d2v_budget_free(d2v_budget *budget); // NULL is allowed
// False: stopped.
bool d2v_budget_reserve(d2v_budget *budget, uint64_t ticket, uint64_t bytes);
void d2v_budget_release(d2v_budget *budget, uint64_t bytes);
void d2v_budget_advance(d2v_budget *budget, uint64_t oldest); // tickets below `oldest` are done
void d2v_budget_stop(d2v_budget *budget);
uint64_t d2v_budget_peak(d2v_budget *budget);

#endif
