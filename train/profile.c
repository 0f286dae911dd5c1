#include "train/profile.h"

#include "base/progress.h"

#include <string.h>

double d2v_profile_start(const d2v_profile *profile) {
	return profile ? d2v_clock() : 0;
}

static d2v_profile_row *row_of(d2v_profile *profile, const char *stage, const char *kind) {
	for (int i = 0; i < profile->count; i++)
		if (strcmp(profile->rows[i].stage, stage) == 0 && strcmp(profile->rows[i].kind, kind) == 0)
			return &profile->rows[i];
	if (profile->count == D2V_PROFILE_ROWS)
		return NULL;
	profile->rows[profile->count] = (d2v_profile_row){ .stage = stage, .kind = kind };
	return &profile->rows[profile->count++];
}

void d2v_profile_stop(
	d2v_profile *profile, d2v_device *device, const char *stage, const char *kind, d2v_profile_way way, double start) {
	if (!profile)
		return;
	(void)d2v_device_sync(
		device, NULL); // its error comes back at the step's own sync, or not at all: this is for timing
	d2v_profile_row *row = row_of(profile, stage, kind);
	if (!row)
		return;
	row->seconds[way] += d2v_clock() - start;
	row->calls++;
}
