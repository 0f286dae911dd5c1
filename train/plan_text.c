// A plan in words and as a tree.
#include "base/memory.h"
#include "base/progress.h"
#include "train/plan.h"

#include <math.h>
#include <stdio.h>

d2v_status d2v_plan_tree(const d2v_plan *plan, json_t **tree, d2v_error *err) {
	const struct {
		const char *key;
		double value;
	} rows[] = {
		{ "parameters", (double)plan->parameters },
		{ "teacher_parameters", (double)plan->teacher_parameters },
		{ "batches_per_update", plan->batches_update },
		{ "samples_per_update", plan->samples_update },
		{ "audio_seconds_per_update", plan->audio_seconds_update },
		{ "pictures_per_update", plan->pictures_update },
		{ "text_tokens_per_update", plan->text_tokens_update },
		{ "flops_per_update", plan->flops_update },
		{ "weight_bytes", plan->weight_bytes },
		{ "optimizer_bytes", plan->optimizer_bytes },
		{ "step_bytes", plan->step_bytes },
		{ "device_bytes", plan->device_bytes },
		{ "fitting_batch", (double)plan->fitting_batch },
		{ "step_bytes_plain", plan->ways[D2V_PLAN_PLAIN].step_bytes },
		{ "step_bytes_groups", plan->ways[D2V_PLAN_GROUPS].step_bytes },
		{ "step_bytes_recompute", plan->ways[D2V_PLAN_RECOMPUTE].step_bytes },
		{ "step_bytes_both", plan->ways[D2V_PLAN_BOTH].step_bytes },
		{ "groups", (double)plan->ways[D2V_PLAN_GROUPS].memory.clone_groups },
		{ "groups_both", (double)plan->ways[D2V_PLAN_BOTH].memory.clone_groups },
		{ "recompute_share", plan->recompute_share },
		{ "needed_clone_groups", plan->way < 0 ? 0 : (double)plan->ways[plan->way].memory.clone_groups },
		{ "checkpoint_bytes", plan->checkpoint_bytes },
		{ "updates_per_epoch", plan->updates_epoch },
		{ "epochs", plan->epochs },
		{ "audio_hours", plan->audio_hours },
		{ "peak_flops", plan->peak_flops },
		{ "assumed_efficiency", plan->efficiency },
		{ "updates_per_hour", plan->updates_hour },
		{ "expected_hours", plan->hours },
		{ "loader_times_real_time", plan->loader_times_real },
		{ "loader_pictures_per_second", plan->loader_pictures_second },
		{ "loader_tokens_per_second", plan->loader_tokens_second },
		{ "loader_bytes_per_second", plan->loader_bytes_second },
	};
	*tree = json_object();
	d2v_status status = *tree ? D2V_OK : d2v_fail(err, D2V_NO_MEMORY, "out of memory for the plan");
	for (size_t i = 0; i < sizeof rows / sizeof rows[0] && status == D2V_OK; i++) {
		bool whole = floor(rows[i].value) == rows[i].value && fabs(rows[i].value) < 9e15;
		status = d2v_json_set(
			*tree, rows[i].key, whole ? json_integer((json_int_t)rows[i].value) : json_real(rows[i].value), err);
	}
	if (status == D2V_OK)
		status = d2v_json_set(*tree, "assumed_batches", json_boolean(plan->assumed), err);
	if (status == D2V_OK)
		status = d2v_json_set(*tree, "fits", json_boolean(plan->way >= 0), err);
	if (status == D2V_OK)
		status = d2v_json_set(
			*tree, "needed_recompute", json_boolean(plan->way >= 0 && plan->ways[plan->way].memory.recompute), err);
	if (status != D2V_OK) {
		json_decref(*tree);
		*tree = NULL;
	}
	return status;
}

#define PHRASE 256

static int add_phrase(char text[PHRASE], int used, const char *format, double value) {
	used += snprintf(text + used, (size_t)(PHRASE - used), "%s", used ? ", " : "");
	return used + snprintf(text + used, (size_t)(PHRASE - used), format, value);
}

static int add_millions(char text[PHRASE], int used, double value, const char *what) {
	char count[D2V_PROGRESS_TEXT];
	if (value >= 1e9 && value < 1e18)
		d2v_progress_count((uint64_t)(value * 1e-6), count);
	else
		snprintf(count, sizeof count, "%.3g", value * 1e-6);
	used += snprintf(text + used, (size_t)(PHRASE - used), "%s%s M %s", used ? ", " : "", count, what);
	return used;
}

// "12.4 s of speech, 32 pictures, 4096 tokens of text": of what the run reads.
static const char *name_update(const d2v_plan *plan, char text[PHRASE]) {
	int used = 0;
	text[0] = 0;
	if (plan->audio_seconds_update > 0)
		used = add_phrase(text, used, "%.1f s of speech", plan->audio_seconds_update);
	if (plan->pictures_update > 0)
		used = add_phrase(text, used, "%.1f pictures", plan->pictures_update);
	if (plan->text_tokens_update > 0)
		add_phrase(text, used, "%.0f tokens of text", plan->text_tokens_update);
	return text;
}

static const char *name_run(const d2v_plan *plan, double updates, char text[PHRASE]) {
	int used = 0;
	text[0] = 0;
	if (plan->audio_hours > 0)
		used = add_phrase(text, used, "%.0f h of speech", plan->audio_hours);
	if (plan->pictures_update > 0)
		used = add_millions(text, used, updates * plan->pictures_update, "pictures");
	if (plan->text_tokens_update > 0)
		add_millions(text, used, updates * plan->text_tokens_update, "tokens of text");
	return text;
}

static const char *name_demand(const d2v_plan *plan, char text[PHRASE]) {
	char bytes[D2V_PROGRESS_TEXT];
	int used = 0;
	text[0] = 0;
	if (plan->loader_times_real > 0)
		used = add_phrase(
			text, used, plan->loader_times_real < 10 ? "%.2gx real time" : "%.0fx real time", plan->loader_times_real);
	if (plan->loader_pictures_second > 0)
		used = add_phrase(text, used, "%.1f pictures/s", plan->loader_pictures_second);
	if (plan->loader_tokens_second > 0)
		used = add_phrase(text, used, "%.0f tokens/s", plan->loader_tokens_second);
	if (plan->loader_bytes_second > 0)
		snprintf(text + used, (size_t)(PHRASE - used), ", %s/s", d2v_progress_bytes(plan->loader_bytes_second, bytes));
	return text;
}

static const char *name_share(const d2v_plan *plan, char text[PHRASE]) {
	char all[D2V_PROGRESS_TEXT];
	double share = (plan->weight_bytes + plan->optimizer_bytes + plan->step_bytes) / plan->device_bytes;
	text[0] = 0;
	if (plan->device_bytes > 0)
		snprintf(
			text, PHRASE, ", %.0f %% of the device's %s", 100 * share, d2v_progress_bytes(plan->device_bytes, all));
	return text;
}

#define WORDS 64 // some of a phrase

static const char *name_options(d2v_memory_options memory, char text[WORDS]) {
	int used = 0;
	text[0] = 0;
	if (memory.recompute)
		used = snprintf(text, WORDS, "d2v.recompute=true");
	if (memory.clone_groups > 1)
		snprintf(text + used, (size_t)(WORDS - used), "%sd2v.clone_groups=%lld", used ? " " : "",
			(long long)memory.clone_groups);
	return text;
}

#define INDENT "              "

// The activations with and without the options that save memory.
static const char *name_ways(const d2v_plan *plan, char text[2 * PHRASE]) {
	char bytes[D2V_PROGRESS_TEXT], options[WORDS];
	int used = 0;
	for (int i = 0; i < D2V_PLAN_WAYS; i++) {
		const d2v_plan_way *way = &plan->ways[i];
		used += snprintf(text + used, (size_t)(2 * PHRASE - used), INDENT "%s: %s%s\n",
			i == D2V_PLAN_PLAIN ? "activations without options" : name_options(way->memory, options),
			d2v_progress_bytes(way->step_bytes, bytes), way->fits ? "" : ", which does not fit");
	}
	return text;
}

static const char *name_batch(const d2v_plan *plan, char text[PHRASE]) {
	if (plan->fitting_batch > 0)
		snprintf(text, PHRASE,
			INDENT
			"does not fit: batches of %lld do; set dataset.batch_size or dataset.max_tokens to that, and\n" INDENT
			"optimization.update_freq or more workers to keep the update what it is\n",
			(long long)plan->fitting_batch);
	else
		snprintf(
			text, PHRASE, INDENT "does not fit, not even a batch of one; take a smaller model or shorter samples\n");
	return text;
}

static const char *name_remedy(const d2v_plan *plan, char text[PHRASE]) {
	char options[WORDS], work[WORDS] = "", products[WORDS] = "";
	text[0] = 0;
	if (plan->fitting_batch == 0)
		return text;
	if (plan->way < 0)
		return name_batch(plan, text);
	d2v_memory_options memory = plan->ways[plan->way].memory;
	if (memory.recompute)
		snprintf(work, WORDS, "; %.0f %% more work", 100 * plan->recompute_share);
	if (memory.clone_groups > 1)
		snprintf(products, WORDS, "; products %lld times smaller", (long long)memory.clone_groups);
	snprintf(text, PHRASE, INDENT "does not fit as it is, but does with %s%s%s\n",
		plan->way == D2V_PLAN_PLAIN ? "neither option" : name_options(memory, options), work, products);
	return text;
}

// What is known when the speed of the device is.
static const char *name_times(const d2v_plan *plan, char text[2 * PHRASE]) {
	char duration[D2V_PROGRESS_TEXT], loader[PHRASE];
	text[0] = 0;
	if (plan->peak_flops > 0)
		snprintf(text, 2 * PHRASE,
			"speed         %.0f GFLOP/s in matrix products, %.0f %% of it assumed: %.0f updates an hour\n"
			"time          %s\n"
			"loader        must deliver %s\n",
			plan->peak_flops * 1e-9, 100 * plan->efficiency, plan->updates_hour,
			d2v_progress_duration(plan->hours * 3600, duration), name_demand(plan, loader));
	return text;
}

d2v_status d2v_plan_text(const d2v_plan *plan, const d2v_config *config, char **text, d2v_error *err) {
	char parameters[D2V_PROGRESS_TEXT], teacher[D2V_PROGRESS_TEXT], weights[D2V_PROGRESS_TEXT];
	char optimizer[D2V_PROGRESS_TEXT], step[D2V_PROGRESS_TEXT], total[D2V_PROGRESS_TEXT], disk[D2V_PROGRESS_TEXT];
	char update[PHRASE], run[PHRASE], epochs[PHRASE], share[PHRASE], remedy[PHRASE];
	char ways[2 * PHRASE], times[2 * PHRASE];
	double updates = (double)config->optimization.max_update;
	if (plan->updates_epoch > 0)
		snprintf(epochs, PHRASE, "%.1f updates an epoch, %.1f epochs", plan->updates_epoch, plan->epochs);
	else
		snprintf(epochs, PHRASE, "give task.data to count the updates of an epoch");
	return d2v_asprintf(text, err,
		"parameters    %s trainable, %s in the teacher\n"
		"an update     %.0f batch%s, %.1f samples, %s%s, %.3f TFLOP\n"
		"memory        %s%s: weights, gradients, teacher %s; Adam %s; activations of the largest batch %s\n%s%s"
		"run           %.0f updates, %s; %s\n%s"
		"disk          %s a checkpoint\n",
		d2v_progress_count((uint64_t)plan->parameters, parameters),
		d2v_progress_count((uint64_t)plan->teacher_parameters, teacher), plan->batches_update,
		plan->batches_update > 1 ? "es" : "", plan->samples_update, name_update(plan, update),
		plan->assumed ? " (assumed: no data set was given)" : "", plan->flops_update * 1e-12,
		d2v_progress_bytes(plan->weight_bytes + plan->optimizer_bytes + plan->step_bytes, total),
		name_share(plan, share), d2v_progress_bytes(plan->weight_bytes, weights),
		d2v_progress_bytes(plan->optimizer_bytes, optimizer), d2v_progress_bytes(plan->step_bytes, step),
		name_ways(plan, ways), name_remedy(plan, remedy), updates, name_run(plan, updates, run), epochs,
		name_times(plan, times), d2v_progress_bytes(plan->checkpoint_bytes, disk));
}
