// The probe of d2v-train: how often nearest neighbours in the teacher's features have the right class.
#ifndef D2V_TOOLS_TRAIN_PROBE_H
#define D2V_TOOLS_TRAIN_PROBE_H

#include "train/trainer.h"

typedef struct train_probe train_probe;

// From d2v.probe_*; *made is NULL when there is to be none. *probe borrows it until it is freed.
d2v_status train_probe_open(
	train_probe **made, const d2v_config *config, d2v_device *device, d2v_probe *probe, d2v_error *err);
void train_probe_close(train_probe *made); // NULL is allowed

#endif
