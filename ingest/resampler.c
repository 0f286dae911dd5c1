#include "ingest/resampler.h"

#include "base/memory.h"

#include <soxr.h>

struct d2v_resampler {
	soxr_t soxr;
};

d2v_status d2v_resampler_new(d2v_resampler **resampler, double rate_in, double rate_out, d2v_error *err) {
	*resampler = NULL;
	soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
	soxr_io_spec_t io = soxr_io_spec(SOXR_FLOAT32_I, SOXR_FLOAT32_I);
	soxr_runtime_spec_t runtime = soxr_runtime_spec(1);
	soxr_error_t problem;
	soxr_t soxr = soxr_create(rate_in, rate_out, 1, &problem, &io, &quality, &runtime);
	if (!soxr)
		return d2v_fail(err, D2V_UNSUPPORTED, "from %g Hz to %g Hz: %s", rate_in, rate_out, problem);
	d2v_status status = d2v_alloc(resampler, 1, sizeof **resampler, err);
	if (status != D2V_OK) {
		soxr_delete(soxr);
		return status;
	}
	(*resampler)->soxr = soxr;
	return D2V_OK;
}

d2v_status d2v_resampler_process(d2v_resampler *resampler, const float *in, size_t in_count, size_t *taken, float *out,
	size_t room, size_t *given, d2v_error *err) {
	soxr_error_t problem = soxr_process(resampler->soxr, in, in_count, in ? taken : NULL, out, room, given);
	return problem ? d2v_fail(err, D2V_NO_MEMORY, "resampling: %s", problem) : D2V_OK;
}

void d2v_resampler_free(d2v_resampler *resampler) {
	if (!resampler)
		return;
	soxr_delete(resampler->soxr);
	d2v_free(resampler);
}
