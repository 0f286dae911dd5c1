// Where the time of a step goes: seconds by stage and kind of operation. Switched off unless somebody asks, since on a
// GPU it waits after every operation.
#ifndef D2V_TRAIN_PROFILE_H
#define D2V_TRAIN_PROFILE_H

#include "kernels/device.h"

#define D2V_PROFILE_ROWS 128

typedef enum d2v_profile_way {
	D2V_PROFILE_FORWARD,
	D2V_PROFILE_AGAIN,
	D2V_PROFILE_BACKWARD,
	D2V_PROFILE_WAYS
} d2v_profile_way;

typedef struct d2v_profile_row {
	const char *stage, *kind;         // "trunk", "linear"
	double seconds[D2V_PROFILE_WAYS]; // forward, forward once more for the backward pass, backward
	long calls;
} d2v_profile_row;

typedef struct d2v_profile { // by stage and kind
	d2v_profile_row rows[D2V_PROFILE_ROWS];
	int count;
} d2v_profile;

// All of these take NULL for "no profile" and then do nothing.
double d2v_profile_start(const d2v_profile *profile);
void d2v_profile_stop(
	d2v_profile *profile, d2v_device *device, const char *stage, const char *kind, d2v_profile_way way, double start);

#endif
