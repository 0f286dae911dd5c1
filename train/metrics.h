// metrics.jsonl: one JSON object a line, each with the number of updates done under "update".
//
// Opening it for a run that goes on from `updates_done` cuts off what a killed run wrote after its checkpoint (and a
// line it did not finish), so that no update is there twice. Lines are written whole and at once. One thread.
#ifndef D2V_TRAIN_METRICS_H
#define D2V_TRAIN_METRICS_H

#include "base/error.h"
#include "base/json.h"

typedef struct d2v_metrics d2v_metrics;

d2v_status d2v_metrics_open(d2v_metrics **metrics, const char *path, uint64_t updates_done, d2v_error *err);
void d2v_metrics_close(d2v_metrics *metrics); // NULL is allowed
// Keys are written in the order they were set.
d2v_status d2v_metrics_write(d2v_metrics *metrics, const json_t *line, d2v_error *err);

// A number, or null for what JSON cannot say (NaN, infinities). A new reference.
json_t *d2v_metrics_real(double value);

#endif
