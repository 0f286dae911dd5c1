// One channel from one sample rate to another: libsoxr, high quality, one thread. The same samples give the same
// samples, however they are cut into pieces. libsoxr is named in resampler.c only.
#ifndef D2V_INGEST_RESAMPLER_H
#define D2V_INGEST_RESAMPLER_H

#include "base/error.h"

typedef struct d2v_resampler d2v_resampler;

d2v_status d2v_resampler_new(d2v_resampler **resampler, double rate_in, double rate_out, d2v_error *err);
// Takes all of `in` (NULL: there is no more) and gives up to `room` samples; *given < room: everything so far was
// given. With in_count > 0 *taken says how much was taken: call again with the rest.
d2v_status d2v_resampler_process(d2v_resampler *resampler, const float *in, size_t in_count, size_t *taken, float *out,
	size_t room, size_t *given, d2v_error *err);
void d2v_resampler_free(d2v_resampler *resampler); // NULL is allowed

#endif
