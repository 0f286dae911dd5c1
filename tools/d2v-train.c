// d2v-train: pretrain a model from a recipe. Builds the source of batches and the device, and hands both to the
// trainer.
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/signals.h"
#include "loaders/speech_source.h"
#include "train/plan.h"
#include "train/recipe.h"
#include "train/trainer.h"

#include <string.h>

#define PROGRAM "d2v-train"

static struct {
	bool list, print_config, plan, json, quiet;
	const char *device;
	int64_t threads;
} given;

static d2v_option rows[] = {
	{ .name = "list",
		.letter = 'l',
		.kind = D2V_OPTION_FLAG,
		.into = &given.list,
		.help = "show the recipes there are" },
	{ .name = "print-config",
		.kind = D2V_OPTION_FLAG,
		.into = &given.print_config,
		.help = "print the resolved configuration as YAML, which can be given back as a recipe" },
	{ .name = "plan",
		.kind = D2V_OPTION_FLAG,
		.into = &given.plan,
		.help = "say what the run would cost: parameters, work, memory, time, disk; train nothing" },
	{ .name = "json", .kind = D2V_OPTION_FLAG, .into = &given.json, .help = "print --plan or --list as JSON" },
	{ .name = "device",
		.letter = 'd',
		.kind = D2V_OPTION_TEXT,
		.into = &given.device,
		.value = "NAME",
		.help = "cpu, cuda, cuda:N or auto; the same as d2v.device=NAME (default: auto)" },
	{ .name = "threads",
		.letter = 't',
		.kind = D2V_OPTION_INT,
		.into = &given.threads,
		.min = 1,
		.max = 1024,
		.value = "N",
		.help = "compute threads; the same as d2v.threads=N (default: all processors)" },
	{ .name = "quiet",
		.letter = 'q',
		.kind = D2V_OPTION_FLAG,
		.into = &given.quiet,
		.help = "no lines about progress" },
	{ 0 },
};

static const d2v_command command = {
	.program = PROGRAM,
	.operands = "RECIPE [KEY=VALUE...]",
	.summary = "pretrain a data2vec 2.0 model",
	.detail = "RECIPE is a name from --list or a YAML file with fairseq's field names; fairseq's own speech files load "
			  "as they are. "
			  "KEY=VALUE overrides a field; --print-config shows all of them.\n\n"
			  "A run goes on from what it finds in checkpoint.save_dir: checkpoint_last.safetensors, or when that is "
			  "damaged the newest "
			  "intact checkpoint_UPDATE.safetensors. SIGINT and SIGTERM finish the update, save, and exit with 130. A "
			  "full disk while saving "
			  "leaves the previous checkpoint intact; training goes on and tries again at the next save.",
	.examples = "d2v-train audio-tiny task.data=data checkpoint.save_dir=runs/tiny\n"
				"    Train the smallest speech recipe; the same command goes on where it was stopped.\n"
				"d2v-train audio-base --plan task.data=librispeech\n"
				"    What the published base model would cost on this machine.\n",
	.options = rows,
	.operands_min = 0,
	.operands_max = -1,
};

// ---- the recipes there are

static d2v_status list_json(d2v_error *err) {
	json_t *list = json_array();
	char summary[512], *text = NULL;
	for (const d2v_recipe_text *recipe = d2v_recipes_embedded; recipe->name; recipe++)
		json_array_append_new(list, json_pack("{s:s, s:s}", "name", recipe->name, "summary",
										d2v_recipe_summary(recipe, summary, sizeof summary)));
	d2v_status status = d2v_json_text(list, &text, err);
	if (status == D2V_OK)
		fputs(text, stdout);
	d2v_free(text);
	json_decref(list);
	return status;
}

static d2v_status list_recipes(d2v_error *err) {
	char summary[512];
	if (given.json)
		return list_json(err);
	for (const d2v_recipe_text *recipe = d2v_recipes_embedded; recipe->name; recipe++)
		printf("%-14s %s\n", recipe->name, d2v_recipe_summary(recipe, summary, sizeof summary));
	return D2V_OK;
}

// ---- device and source

static d2v_status open_device(d2v_device **device, const d2v_config *config, d2v_error *err) {
	char name[D2V_FIELD_TEXT_MAX + 32];
	const char *wanted = config->own.device;
	if (config->own.threads == 0 || strncmp(wanted, "cuda", 4) == 0)
		return d2v_device_open(device, wanted, err);
	if (strcmp(wanted, "auto") == 0 && d2v_device_open(device, "cuda", NULL) == D2V_OK)
		return D2V_OK;
	if (strcmp(wanted, "auto") != 0 && strcmp(wanted, "cpu") != 0)
		return d2v_fail(err, D2V_INVALID, "d2v.device=%s says already how many threads; leave d2v.threads out", wanted);
	snprintf(name, sizeof name, "cpu:%lld", (long long)config->own.threads);
	return d2v_device_open(device, name, err);
}

static d2v_status alloc_host(void *context, void *out, size_t bytes, d2v_error *err) {
	return d2v_device_alloc_host(context, out, bytes, err);
}

static void free_host(void *context, void *block) {
	d2v_device_free_host(context, block);
}

static d2v_status check_fits(const char *key, int64_t value, int64_t max, d2v_error *err) {
	if (value <= max)
		return D2V_OK;
	return d2v_fail(err, D2V_INVALID, "%s: %lld is more than %lld", key, (long long)value, (long long)max);
}

static d2v_status source_options(
	d2v_speech_options *options, const d2v_config *config, d2v_device *device, d2v_error *err) {
	const d2v_modality_config *audio = &config->model.audio;
	d2v_conv_spec spec;
	D2V_TRY(d2v_conv_spec_parse(audio->feature_encoder_spec, &spec, err));
	if (!config->task.data[0])
		return d2v_fail(err, D2V_INVALID, "give the folder of a data set: task.data=DIR (d2v-ingest makes one)");
	D2V_TRY(check_fits("model.modalities.audio.mask_length", audio->mask_length, INT32_MAX, err));
	*options = (d2v_speech_options){
		.common = { .data = config->task.data,
			.split = config->dataset.train_subset[0] ? config->dataset.train_subset : NULL,
			.seed = (uint64_t)config->common.seed,
			.imitated_world_size = (uint32_t)config->world_size,
			.world_size = 1,
			.threads = config->dataset.num_workers > 0 ? (int)config->dataset.num_workers : 1,
			.max_damaged = (uint64_t)config->own.max_damaged,
			.max_damaged_share = config->own.max_damaged_share,
			.allocator = { .alloc = alloc_host, .free = free_host, .context = device } },
		.limits = { .max_tokens = (uint64_t)config->dataset.max_tokens,
			.batch_size = (uint32_t)config->dataset.batch_size,
			.required_batch_size_multiple = (uint32_t)config->dataset.required_batch_size_multiple,
			.min_sample_size = (uint32_t)config->task.min_sample_size,
			.max_sample_size = (uint32_t)config->task.max_sample_size },
		.clone_batch = (int32_t)config->model.clone_batch,
		.masks = { .mask_prob = audio->mask_prob,
			.mask_prob_adjust = audio->mask_prob_adjust,
			.mask_length = (int32_t)audio->mask_length,
			.inverse_mask = audio->inverse_mask,
			.mask_dropout = audio->mask_dropout,
			.add_masks = audio->add_masks },
		.normalize = config->task.normalize,
		.rate = (uint32_t)config->task.sample_rate,
	};
	for (int i = 0; i < spec.count; i++)
		options->frames.layer[i] =
			(d2v_frames_layer){ .kernel = (int32_t)spec.layer[i].kernel, .stride = (int32_t)spec.layer[i].stride };
	options->frames.count = spec.count;
	return D2V_OK;
}

static d2v_status open_source(d2v_source **source, const d2v_config *config, d2v_device *device, d2v_error *err) {
	d2v_speech_options options;
	D2V_TRY(source_options(&options, config, device, err));
	return d2v_speech_source_open(source, &options, err);
}

// ---- --plan

// Neighbours in the order of lengths have mostly the same shape.
static d2v_status shapes_of(const d2v_speech_plan *batches, d2v_plan_shape **shapes, int *count, d2v_error *err) {
	D2V_TRY(d2v_alloc(shapes, batches->batches, sizeof **shapes, err));
	*count = 0;
	for (uint64_t b = 0; b < batches->batches; b++) {
		d2v_plan_shape shape = { .batch = (int64_t)(batches->starts[b + 1] - batches->starts[b]),
			.length = d2v_speech_plan_target(batches, b),
			.count = 1 };
		d2v_plan_shape *last = *count ? &(*shapes)[*count - 1] : NULL;
		if (last && last->batch == shape.batch && last->length == shape.length)
			last->count++;
		else
			(*shapes)[(*count)++] = shape;
	}
	return D2V_OK;
}

// Every distinct shape would be planned; of a large data set a thousand are enough.
#define SHAPES_PLANNED 1000
static void thin_out(d2v_plan_shape *shapes, int *count) {
	int step = (*count + SHAPES_PLANNED - 1) / SHAPES_PLANNED, kept = 0;
	if (step <= 1)
		return;
	for (int i = 0; i < *count; i += step) {
		double sum = 0;
		for (int k = i; k < *count && k < i + step; k++)
			sum += shapes[k].count;
		shapes[kept] = shapes[i];
		shapes[kept++].count = sum;
	}
	*count = kept;
}

// LibriSpeech's mean utterance, when there is no data set to ask.
#define ASSUMED_SECONDS 12.4
static d2v_plan_shape assumed_shape(const d2v_config *config) {
	int64_t length = (int64_t)(ASSUMED_SECONDS * (double)config->task.sample_rate), batch = config->dataset.batch_size;
	if (config->task.max_sample_size && length > config->task.max_sample_size)
		length = config->task.max_sample_size;
	int64_t by_tokens = config->dataset.max_tokens / length;
	if (config->dataset.max_tokens && (batch == 0 || by_tokens < batch))
		batch = by_tokens;
	return (d2v_plan_shape){ .batch = batch > 0 ? batch : 1, .length = length, .count = 1 };
}

static d2v_status print_plan(const d2v_plan *plan, const d2v_config *config, d2v_error *err) {
	char *text = NULL;
	json_t *tree = NULL;
	d2v_status status;
	if (given.json) {
		D2V_TRY(d2v_plan_tree(plan, &tree, err));
		status = d2v_json_text(tree, &text, err);
	} else {
		status = d2v_plan_text(plan, config, &text, err);
	}
	if (status == D2V_OK)
		fputs(text, stdout);
	d2v_free(text);
	json_decref(tree);
	return status;
}

static d2v_status data_of(
	const d2v_config *config, d2v_source *source, d2v_plan_shape **shapes, d2v_plan_data *data, d2v_error *err) {
	const d2v_speech_plan *batches = d2v_speech_source_plan(source);
	int64_t each = d2v_config_batches_per_update(config, 1);
	D2V_TRY(shapes_of(batches, shapes, &data->count, err));
	for (int i = 0; i < data->count; i++)
		data->bytes_epoch +=
			2.0 * (*shapes)[i].count * (double)(*shapes)[i].batch * (double)(*shapes)[i].length; // 16-bit samples
	thin_out(*shapes, &data->count);
	data->updates_epoch = (double)((batches->batches + (uint64_t)each - 1) / (uint64_t)each);
	return D2V_OK;
}

static d2v_status run_plan(const d2v_config *config, d2v_device *device, d2v_error *err) {
	d2v_source *source = NULL;
	d2v_plan_shape *shapes = NULL, assumed = assumed_shape(config);
	d2v_plan_data data = { .count = 1, .assumed = true };
	d2v_plan plan;
	double peak = 0;
	d2v_status status = D2V_OK;
	if (config->task.data[0]) {
		data = (d2v_plan_data){ 0 };
		status = open_source(&source, config, device, err);
		if (status == D2V_OK)
			status = data_of(config, source, &shapes, &data, err);
	}
	data.shapes = shapes ? shapes : &assumed;
	if (status == D2V_OK)
		status = d2v_plan_measure_peak(device, &peak, err);
	if (status == D2V_OK)
		status = d2v_plan_make(&plan, config, device, &data, peak, err);
	if (status == D2V_OK)
		status = print_plan(&plan, config, err);
	d2v_free(shapes);
	if (source)
		d2v_source_close(source);
	return status;
}

// ---- training

static d2v_status train(const d2v_config *config, d2v_device *device, d2v_error *err) {
	d2v_trainer_options options = { .quiet = given.quiet, .stop_asked = d2v_signals_asked };
	d2v_source *source = NULL;
	d2v_trainer *trainer = NULL;
	d2v_status status = open_source(&source, config, device, err);
	if (status == D2V_OK && !given.quiet)
		status = d2v_plan_measure_peak(device, &options.peak_flops, err);
	if (status == D2V_OK)
		status = d2v_trainer_new(&trainer, config, device, source, &options, err);
	if (status == D2V_OK)
		status = d2v_trainer_run(trainer, err);
	d2v_trainer_free(trainer);
	if (source)
		d2v_source_close(source);
	return status;
}

static d2v_status print_config(const d2v_config *config, d2v_error *err) {
	char *text = NULL;
	D2V_TRY(d2v_config_print(config, &text, err));
	fputs(text, stdout);
	d2v_free(text);
	return D2V_OK;
}

static d2v_status load(d2v_config *config, const d2v_operands *operands, d2v_error *err) {
	if (operands->count == 0)
		return d2v_fail(
			err, D2V_INVALID, "which recipe? `%s --list` shows them, `%s --help` the rest", PROGRAM, PROGRAM);
	D2V_TRY(d2v_recipe_load(config, operands->items[0], operands->items + 1, operands->count - 1, err));
	if (given.device)
		snprintf(config->own.device, sizeof config->own.device, "%s", given.device);
	if (given.threads)
		config->own.threads = given.threads;
	return D2V_OK;
}

static d2v_status run(const d2v_operands *operands, d2v_error *err) {
	static d2v_config config;
	d2v_device *device = NULL;
	if (given.list)
		return list_recipes(err);
	D2V_TRY(load(&config, operands, err));
	if (given.print_config)
		return print_config(&config, err);
	D2V_TRY(open_device(&device, &config, err));
	d2v_status status = given.plan ? run_plan(&config, device, err) : train(&config, device, err);
	d2v_device_close(device);
	return status;
}

int main(int argc, char **argv) {
	d2v_error err = { 0 };
	d2v_operands operands = { 0 };
	d2v_log_set_program(PROGRAM);
	if (d2v_options_common(&command, argc, argv))
		return 0;
	if (d2v_options_parse(&command, argc, argv, &operands, &err) != D2V_OK)
		return d2v_options_report(PROGRAM, &err);
	d2v_status status = D2V_OK;
	if (!operands.help) {
		d2v_signals_install();
		status = run(&operands, &err);
	}
	d2v_options_release(&operands);
	return status == D2V_OK ? 0 : d2v_options_report(PROGRAM, &err);
}
