// Looking at what the teacher has learnt while the run goes on.
#include "base/log.h"
#include "train/trainer_internal.h"

static bool is_due(const d2v_trainer *trainer) {
	const d2v_probe *probe = &trainer->options.probe;
	return probe->look && probe->interval && trainer->state.updates % probe->interval == 0;
}

static void say(const d2v_trainer *trainer) {
	const d2v_probe_result *result = &trainer->probed.result;
	double elapsed = d2v_clock() - trainer->started;
	d2v_info(
		"update %llu: the teacher's neighbours are right in %.1f %% (95 %%: %.1f to %.1f) of %lld samples; looking "
		"took %.1f s, all looks %.0f %% of this run",
		(unsigned long long)trainer->probed.update, 100 * result->accuracy, 100 * result->low, 100 * result->high,
		(long long)result->count, trainer->probed.seconds, 100 * trainer->probed.seconds_all / elapsed);
}

d2v_status d2v_trainer_probe_if_due(d2v_trainer *trainer, d2v_error *err) {
	const d2v_probe *probe = &trainer->options.probe;
	double start = d2v_clock();
	if (!is_due(trainer))
		return D2V_OK;
	d2v_status status = probe->look(probe->context, trainer->model, &trainer->probed.result, err);
	if (status == D2V_INTERRUPTED) // the loop saves, and says so
		return D2V_OK;
	D2V_TRY(status);
	trainer->probed.fresh = true;
	trainer->probed.update = trainer->state.updates;
	trainer->probed.seconds = d2v_clock() - start;
	trainer->probed.seconds_all += trainer->probed.seconds;
	if (!trainer->options.quiet)
		say(trainer);
	return D2V_OK;
}
