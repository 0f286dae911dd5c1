// What training says of itself: the live line, metrics.jsonl, TensorBoard events.
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "train/trainer_internal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES 400

static d2v_status board_folder(const d2v_config *config, char **folder, d2v_error *err) {
	const char *given = config->common.tensorboard_logdir;
	if (given[0] == '/')
		return d2v_strdup(folder, given, err);
	return d2v_path_join(folder, config->checkpoint.save_dir, given, err);
}

d2v_status d2v_trainer_open_reports(d2v_trainer *trainer, d2v_error *err) {
	const d2v_config *config = &trainer->config;
	char *path = NULL;
	D2V_TRY(d2v_path_join(&path, config->checkpoint.save_dir, "metrics.jsonl", err));
	d2v_status status = d2v_metrics_open(&trainer->metrics, path, trainer->state.updates, err);
	d2v_free(path);
	D2V_TRY(status);
	if (config->common.tensorboard_logdir[0]) {
		D2V_TRY(board_folder(config, &path, err));
		status = d2v_tensorboard_open(&trainer->board, path, trainer->state.updates, err);
		d2v_free(path);
		D2V_TRY(status);
	}
	trainer->terminal = isatty(STDERR_FILENO);
	return d2v_progress_new(&trainer->progress, trainer->options.quiet || !trainer->terminal, err);
}

static void add_update(d2v_update *sum, const d2v_update *update) {
	sum->loss += update->loss;
	sum->loss_regression += update->loss_regression;
	sum->loss_cls += update->loss_cls;
	sum->sample_size += update->sample_size;
	sum->pred_var += update->pred_var;
	sum->target_var += update->target_var;
	sum->masked_pct += update->masked_pct;
	sum->grad_norm += update->grad_norm;
	sum->flops += update->flops;
	sum->samples += update->samples;
	sum->audio_samples += update->audio_samples;
	sum->text_tokens += update->text_tokens;
	sum->seconds += update->seconds;
	sum->waited += update->waited;
	sum->lr = update->lr;
	sum->ema_decay = update->ema_decay;
	sum->loss_scale = update->loss_scale;
	sum->epoch = update->epoch;
}

static void add_to_interval(d2v_interval *interval, const d2v_update *update) {
	interval->updates++;
	interval->clipped += update->clip_coef < 1;
	add_update(&interval->sum, update);
	interval->part[update->modality].updates++;
	add_update(&interval->part[update->modality].sum, update);
}

// The interval's numbers as they are shown.
typedef struct shown {
	double loss, cls, pred_var, target_var, masked_pct, grad_norm, clip;
	double step_seconds, wait_share, samples_per_second, times_real, tokens_per_second, gflops, mfu, hours;
} shown;

static double share(double part, double whole) {
	return whole > 0 ? part / whole : 0;
}

static shown shown_of(const d2v_trainer *trainer) {
	const d2v_interval *interval = &trainer->interval;
	const d2v_update *sum = &interval->sum;
	double updates = (double)interval->updates, rate = (double)trainer->config.task.sample_rate;
	return (shown){
		.loss = share(sum->loss, sum->sample_size),
		.cls = share(sum->loss_cls, sum->sample_size),
		.pred_var = share(sum->pred_var, updates),
		.target_var = share(sum->target_var, updates),
		.masked_pct = share(sum->masked_pct, updates),
		.grad_norm = share(sum->grad_norm, updates),
		.clip = share((double)interval->clipped, updates),
		.step_seconds = share(sum->seconds, updates),
		.wait_share = share(sum->waited, sum->seconds),
		.samples_per_second = share((double)sum->samples, sum->seconds),
		.times_real = share((double)sum->audio_samples / rate, sum->seconds),
		.tokens_per_second = share((double)sum->text_tokens, sum->seconds),
		.gflops = share(sum->flops, sum->seconds) * 1e-9,
		.mfu = trainer->options.peak_flops > 0 ? share(sum->flops, sum->seconds) / trainer->options.peak_flops : 0,
		.hours = (double)trainer->state.audio_samples / rate / 3600,
	};
}

static bool has(const d2v_trainer *trainer, d2v_modality modality) {
	return d2v_model_config_has(&trainer->config.model, modality);
}

// "  audio 0.4321  image 0.7654": the losses of a joint run.
static const char *losses_of(const d2v_trainer *trainer, char *text, size_t size) {
	size_t used = 0;
	text[0] = 0;
	for (d2v_modality modality = D2V_AUDIO; modality < D2V_MODALITY_END && used < size; modality++) {
		const d2v_update *sum = &trainer->interval.part[modality].sum;
		if (d2v_config_is_joint(&trainer->config) && trainer->interval.part[modality].updates)
			used += (size_t)snprintf(
				text + used, size - used, "  %s %.4f", d2v_modality_name(modality), share(sum->loss, sum->sample_size));
	}
	return text;
}

// "  12x real time  3400 tokens/s": how fast, in the units of what the run has read since the last line.
static const char *rates_of(const d2v_trainer *trainer, const shown *now, char *text, size_t size) {
	int used = 0;
	text[0] = 0;
	if (has(trainer, D2V_AUDIO) && now->times_real > 0)
		used = snprintf(text, size, "  %.*fx real time", now->times_real < 10, now->times_real);
	if (has(trainer, D2V_TEXT) && now->tokens_per_second > 0)
		snprintf(text + used, size - (size_t)used, "  %.0f tokens/s", now->tokens_per_second);
	return text;
}

static const char *line_of(const d2v_trainer *trainer, const shown *now, char line[LINE_BYTES]) {
	const d2v_update *sum = &trainer->interval.sum;
	char of[32] = "", reached[32] = "", scaled[32] = "", losses[96], rates[96];
	if (trainer->config.optimization.max_update > 0)
		snprintf(of, sizeof of, "/%lld", (long long)trainer->config.optimization.max_update);
	if (now->mfu > 0)
		snprintf(reached, sizeof reached, " (%.0f %%)", 100 * now->mfu);
	if (sum->loss_scale > 0)
		snprintf(scaled, sizeof scaled, "  scale %g", sum->loss_scale);
	snprintf(line, LINE_BYTES,
		"update %llu%s  epoch %llu  loss %.4f%s  lr %.3g%s  %.1f samples/s%s  %.0f GFLOP/s%s  loader %.1f %%",
		(unsigned long long)trainer->state.updates, of, (unsigned long long)sum->epoch, now->loss,
		losses_of(trainer, losses, sizeof losses), sum->lr, scaled, now->samples_per_second,
		rates_of(trainer, now, rates, sizeof rates), now->gflops, reached, 100 * now->wait_share);
	return line;
}

static void append_time_left(const d2v_trainer *trainer, char line[LINE_BYTES]) {
	uint64_t done = trainer->state.updates, end = (uint64_t)trainer->config.optimization.max_update;
	char text[D2V_PROGRESS_TEXT];
	if (done >= end || done == trainer->first)
		return;
	double each = (d2v_clock() - trainer->started) / (double)(done - trainer->first);
	size_t used = strlen(line);
	snprintf(line + used, LINE_BYTES - used, "  left %s", d2v_progress_duration(each * (double)(end - done), text));
}

// ---- metrics.jsonl and events

// Under the original's names.
static json_t *losses_tree(const d2v_trainer *trainer, const shown *now) {
	static const char *const names[] = {
		[D2V_AUDIO] = "AUDIO_regression", [D2V_IMAGE] = "IMAGE_regression", [D2V_TEXT] = "TEXT_regression"
	};
	json_t *losses = json_object();
	int failed = 0;
	if (!losses)
		return NULL;
	for (d2v_modality modality = D2V_AUDIO; modality < D2V_MODALITY_END; modality++) {
		const d2v_update *sum = &trainer->interval.part[modality].sum;
		if (trainer->interval.part[modality].updates)
			failed |= json_object_set_new(
				losses, names[modality], d2v_metrics_real(share(sum->loss_regression, sum->sample_size)));
	}
	if (trainer->config.model.cls_loss > 0)
		failed |= json_object_set_new(losses, "cls", d2v_metrics_real(now->cls));
	if (failed) {
		json_decref(losses);
		return NULL;
	}
	return losses;
}

static json_t *watched_tree(const d2v_collapse *collapse) {
	static const char *const keys[D2V_WATCHED_COUNT] = { "features", "targets", "predictions" };
	json_t *tree = json_object();
	for (int i = 0; tree && i < D2V_WATCHED_COUNT; i++) {
		const d2v_spread *average = &collapse->watched[i].average;
		json_object_set_new(tree, keys[i],
			json_pack(
				"{s:o, s:o}", "spread", d2v_metrics_real(average->spread), "rank", d2v_metrics_real(average->rank)));
	}
	return tree;
}

// What a joint run says of each modality that had updates since the last line; null when there is one modality.
static json_t *modalities_tree(const d2v_trainer *trainer) {
	json_t *tree = d2v_config_is_joint(&trainer->config) ? json_object() : json_null();
	for (d2v_modality modality = D2V_AUDIO; json_is_object(tree) && modality < D2V_MODALITY_END; modality++) {
		const d2v_update *sum = &trainer->interval.part[modality].sum;
		const d2v_collapse *watch = &trainer->state.collapse[modality];
		double updates = (double)trainer->interval.part[modality].updates;
		if (updates > 0)
			json_object_set_new(tree, d2v_modality_name(modality),
				json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:o}", "updates", (json_int_t)updates, "loss",
					d2v_metrics_real(share(sum->loss, sum->sample_size)), "regression",
					d2v_metrics_real(share(sum->loss_regression, sum->sample_size)), "cls",
					d2v_metrics_real(share(sum->loss_cls, sum->sample_size)), "pred_var",
					d2v_metrics_real(share(sum->pred_var, updates)), "target_var",
					d2v_metrics_real(share(sum->target_var, updates)), "masked_pct",
					d2v_metrics_real(share(sum->masked_pct, updates)), "samples", (json_int_t)sum->samples, "watched",
					watch->looks ? watched_tree(watch) : json_null()));
	}
	return tree;
}

// The look since the last line, or null.
static json_t *probe_tree(const d2v_trainer *trainer) {
	const d2v_probe_result *result = &trainer->probed.result;
	if (!trainer->probed.fresh)
		return json_null();
	return json_pack("{s:I, s:o, s:o, s:o, s:I, s:o}", "update", (json_int_t)trainer->probed.update, "accuracy",
		d2v_metrics_real(result->accuracy), "low", d2v_metrics_real(result->low), "high",
		d2v_metrics_real(result->high), "count", (json_int_t)result->count, "seconds",
		d2v_metrics_real(trainer->probed.seconds));
}

static d2v_status write_metrics(d2v_trainer *trainer, const shown *now, d2v_error *err) {
	const d2v_update *sum = &trainer->interval.sum;
	const d2v_loop_state *state = &trainer->state;
	json_t *line = json_object();
	d2v_status status = line ? D2V_OK : d2v_fail(err, D2V_NO_MEMORY, "out of memory for a line of metrics");
	const struct {
		const char *key;
		json_t *value;
	} entries[] = {
		{ "update", json_integer((json_int_t)state->updates) },
		{ "epoch", json_integer((json_int_t)sum->epoch) },
		{ "loss", d2v_metrics_real(now->loss) },
		{ "losses", losses_tree(trainer, now) },
		{ "lr", d2v_metrics_real(sum->lr) },
		{ "grad_norm", d2v_metrics_real(now->grad_norm) },
		{ "clip", d2v_metrics_real(now->clip) },
		{ "loss_scale", sum->loss_scale > 0 ? d2v_metrics_real(sum->loss_scale) : json_null() },
		{ "skipped", sum->loss_scale > 0 ? json_integer((json_int_t)state->loss_scale.skipped) : json_null() },
		{ "pred_var", d2v_metrics_real(now->pred_var) },
		{ "target_var", d2v_metrics_real(now->target_var) },
		{ "ema_decay", d2v_metrics_real(sum->ema_decay) },
		{ "masked_pct", d2v_metrics_real(now->masked_pct) },
		{ "samples", json_integer((json_int_t)state->samples) },
		{ "hours", d2v_metrics_real(now->hours) },
		{ "step_seconds", d2v_metrics_real(now->step_seconds) },
		{ "loader_wait", d2v_metrics_real(now->wait_share) },
		{ "samples_per_second", d2v_metrics_real(now->samples_per_second) },
		{ "times_real_time", has(trainer, D2V_AUDIO) ? d2v_metrics_real(now->times_real) : json_null() },
		{ "tokens_per_second", has(trainer, D2V_TEXT) ? d2v_metrics_real(now->tokens_per_second) : json_null() },
		{ "gflops", d2v_metrics_real(now->gflops) },
		{ "mfu", trainer->options.peak_flops > 0 ? d2v_metrics_real(now->mfu) : json_null() },
		{ "watched", state->collapse[0].looks ? watched_tree(&state->collapse[0]) : json_null() },
		{ "modalities", modalities_tree(trainer) },
		{ "probe", probe_tree(trainer) },
	};
	for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++) {
		if (status == D2V_OK)
			status = d2v_json_set(line, entries[i].key, entries[i].value, err);
		else
			json_decref(entries[i].value);
	}
	if (status == D2V_OK)
		status = d2v_metrics_write(trainer->metrics, line, err);
	json_decref(line);
	return status;
}

// Of a joint run; how many.
static int modality_scalars(const d2v_trainer *trainer, d2v_modality modality, d2v_tensorboard_scalar *scalars) {
	static const char *const names[][3] = { [D2V_AUDIO] = { "audio/loss", "audio/pred_var", "audio/target_var" },
		[D2V_IMAGE] = { "image/loss", "image/pred_var", "image/target_var" },
		[D2V_TEXT] = { "text/loss", "text/pred_var", "text/target_var" } };
	const d2v_update *sum = &trainer->interval.part[modality].sum;
	double updates = (double)trainer->interval.part[modality].updates;
	if (!d2v_config_is_joint(&trainer->config) || updates == 0)
		return 0;
	scalars[0] = (d2v_tensorboard_scalar){ names[modality][0], share(sum->loss, sum->sample_size) };
	scalars[1] = (d2v_tensorboard_scalar){ names[modality][1], share(sum->pred_var, updates) };
	scalars[2] = (d2v_tensorboard_scalar){ names[modality][2], share(sum->target_var, updates) };
	return 3;
}

static d2v_status write_events(d2v_trainer *trainer, const shown *now, d2v_error *err) {
	const d2v_update *sum = &trainer->interval.sum;
	if (!trainer->board)
		return D2V_OK;
	d2v_tensorboard_scalar scalars[14 + 3 * (D2V_MODALITY_END - 1)] = { { "train/loss", now->loss },
		{ "train/lr", sum->lr }, { "train/grad_norm", now->grad_norm }, { "train/clip", now->clip },
		{ "train/pred_var", now->pred_var }, { "train/target_var", now->target_var },
		{ "train/ema_decay", sum->ema_decay }, { "train/masked_pct", now->masked_pct },
		{ "speed/step_seconds", now->step_seconds }, { "speed/loader_wait", now->wait_share },
		{ "speed/samples_per_second", now->samples_per_second }, { "speed/gflops", now->gflops } };
	int count = 12;
	for (d2v_modality modality = D2V_AUDIO; modality < D2V_MODALITY_END; modality++)
		count += modality_scalars(trainer, modality, scalars + count);
	if (sum->loss_scale > 0)
		scalars[count++] = (d2v_tensorboard_scalar){ "train/loss_scale", sum->loss_scale };
	if (trainer->probed.fresh)
		scalars[count++] = (d2v_tensorboard_scalar){ "probe/accuracy", trainer->probed.result.accuracy };
	return d2v_tensorboard_add(trainer->board, trainer->state.updates, scalars, count, err);
}

// Metrics are not worth a run: a disk that is full for them is said, and the run goes on.
static d2v_status forgive_full_disk(d2v_status status, d2v_error *err) {
	if (status != D2V_NO_SPACE)
		return status;
	d2v_warn("%s; this line of metrics is lost", err->text);
	return D2V_OK;
}

d2v_status d2v_trainer_report(d2v_trainer *trainer, const d2v_update *update, bool last, d2v_error *err) {
	char line[LINE_BYTES];
	d2v_error own;
	err = err ? err : &own;
	if (update->done)
		add_to_interval(&trainer->interval, update);
	shown now = shown_of(trainer);
	uint64_t updates = trainer->state.updates;
	d2v_progress_update(trainer->progress, (double)updates, (double)trainer->config.optimization.max_update, "%s",
		line_of(trainer, &now, line));
	if (updates != 1 && updates % (uint64_t)trainer->config.common.log_interval != 0 && !last)
		return D2V_OK;
	if (!trainer->options.quiet && !trainer->terminal) {
		append_time_left(trainer, line);
		d2v_info("%s", line);
	}
	if (last)
		d2v_progress_finish(trainer->progress);
	D2V_TRY(forgive_full_disk(write_metrics(trainer, &now, err), err));
	D2V_TRY(forgive_full_disk(write_events(trainer, &now, err), err));
	trainer->interval = (d2v_interval){ 0 };
	trainer->probed.fresh = false;
	return D2V_OK;
}
