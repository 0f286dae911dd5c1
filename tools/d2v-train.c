// d2v-train: pretrain a model from a recipe. Builds the source of batches and the device, and hands both to the
// trainer.
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/signals.h"
#include "loaders/image_source.h"
#include "loaders/speech_source.h"
#include "loaders/text_source.h"
#include "tools/open_device.h"
#include "tools/open_source.h"
#include "tools/option_rows.h"
#include "tools/thread_waiting.h"
#include "tools/train_probe.h"
#include "train/plan.h"
#include "train/recipe.h"
#include "train/trainer.h"

#include <math.h>

#define PROGRAM "d2v-train"

static struct {
	bool list, print_config, plan, json, quiet;
	const char *device;
	int64_t threads;
	uint64_t memory;
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
		.help = "print the resolved configuration as YAML, with what each field means; it can be given back as a recipe" },
	{ .name = "plan",
		.kind = D2V_OPTION_FLAG,
		.into = &given.plan,
		.help = "say what the run would cost: parameters, work, memory, time, disk; train nothing" },
	{ .name = "memory",
		.kind = D2V_OPTION_SIZE,
		.into = &given.memory,
		.min = 1 << 20,
		.max = 1e15,
		.value = "BYTES",
		.help = "with --plan: of a card with so much memory that works in 16-bit numbers, such as 24G, instead of this "
				"device" },
	D2V_ROW_JSON(given.json, "print --plan or --list as JSON"),
	D2V_ROW_DEVICE(given.device,
		"cpu, cuda, cuda:N or auto; cuda:N:f16 works in f16 instead of bf16; the same as d2v.device=NAME (default: auto)"),
	D2V_ROW_THREADS(given.threads, 1, "compute threads; the same as d2v.threads=N (default: all processors)"),
	D2V_ROW_QUIET(given.quiet, "no lines about progress"),
	{ 0 },
};

static const d2v_command command = {
	.program = PROGRAM,
	.operands = "RECIPE [KEY=VALUE...]",
	.summary = "pretrain a data2vec 2.0 model",
	.detail = "RECIPE is a name from --list or a YAML file with fairseq's field names; fairseq's own files load "
			  "as they are. "
			  "KEY=VALUE overrides a field; --print-config shows all of them.\n\n"
			  "A run goes on from what it finds in checkpoint.save_dir: checkpoint_last.safetensors, or when that is "
			  "damaged the newest "
			  "intact checkpoint_UPDATE.safetensors. SIGINT, SIGTERM and SIGHUP finish the update, save, and exit with 130. A "
			  "full disk while saving "
			  "leaves the previous checkpoint intact; training goes on and tries again at the next save.",
	.examples = "d2v-train audio-tiny task.data=data checkpoint.save_dir=runs/tiny\n"
				"    Train the smallest speech recipe; the same command goes on where it was stopped.\n"
				"d2v-train audio-base --plan task.data=librispeech\n"
				"    What the published base model would cost on this machine.\n"
				"d2v-train image-large --plan --memory 24G\n"
				"    What it takes for the published batch to fit a card of 24 GB.\n"
				"d2v-train joint-tiny task.audio.data=speech task.image.data=pictures task.text.data=text "
				"checkpoint.save_dir=runs/joint\n"
				"    Train one model on three data sets; task.audio.share=2 gives speech more updates.\n"
				"d2v-train image-tiny task.data=pictures d2v.probe_interval=200\n"
				"    See every 200 updates how well nearest neighbours in the teacher's features guess the class.\n",
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

// ---- --plan

// What is known of a data set's batches.
typedef struct known_shapes {
	d2v_plan_shape *list;
	size_t count, capacity;
	double updates_epoch, bytes_epoch;
} known_shapes;

// Neighbours in the order of lengths have mostly the same shape.
static d2v_status add_shape(known_shapes *shapes, d2v_plan_shape shape, d2v_error *err) {
	d2v_plan_shape *last = shapes->count ? &shapes->list[shapes->count - 1] : NULL;
	if (last && last->modality == shape.modality && last->batch == shape.batch && last->length == shape.length) {
		last->count += shape.count;
		return D2V_OK;
	}
	D2V_TRY(d2v_reserve(&shapes->list, &shapes->capacity, shapes->count + 1, sizeof *shapes->list, err));
	shapes->list[shapes->count++] = shape;
	return D2V_OK;
}

static d2v_status add_speech(known_shapes *shapes, const d2v_source *source, d2v_error *err) {
	const d2v_speech_plan *plan = d2v_speech_source_plan(source);
	for (uint64_t b = 0; b < plan->batches; b++) {
		d2v_plan_shape shape = { D2V_AUDIO, (int64_t)(plan->starts[b + 1] - plan->starts[b]),
			d2v_speech_plan_target(plan, b), 1 };
		shapes->bytes_epoch += 2.0 * (double)shape.batch * (double)shape.length; // 16-bit samples
		D2V_TRY(add_shape(shapes, shape, err));
	}
	return D2V_OK;
}

static d2v_status add_pictures(
	known_shapes *shapes, const d2v_source *source, const d2v_task_part *part, d2v_error *err) {
	d2v_dataset *dataset = d2v_image_source_dataset(source);
	uint64_t records = d2v_dataset_records(dataset), batch = (uint64_t)part->batch_size;
	for (uint64_t i = 0; i < records; i++)
		shapes->bytes_epoch += d2v_dataset_rows(dataset)[i].size;
	if (records / batch)
		D2V_TRY(add_shape(shapes, (d2v_plan_shape){ D2V_IMAGE, (int64_t)batch, 0, (double)(records / batch) }, err));
	return records % batch ? add_shape(shapes, (d2v_plan_shape){ D2V_IMAGE, (int64_t)(records % batch), 0, 1 }, err)
						   : D2V_OK;
}

static d2v_status add_text(known_shapes *shapes, const d2v_source *source, d2v_error *err) {
	const d2v_text_plan *plan = d2v_text_source_plan(source);
	for (uint64_t b = 0; b < plan->batches; b++)
		D2V_TRY(add_shape(
			shapes, (d2v_plan_shape){ D2V_TEXT, d2v_text_plan_size(plan, b), d2v_text_plan_width(plan, b), 1 }, err));
	shapes->bytes_epoch += 2.0 * (double)plan->tokens; // 16-bit tokens
	return D2V_OK;
}

// Every distinct shape would be planned; of a large data set a thousand are enough.
#define SHAPES_PLANNED 1000
static void thin_out(known_shapes *shapes, size_t first) {
	size_t count = shapes->count - first, step = (count + SHAPES_PLANNED - 1) / SHAPES_PLANNED, kept = first;
	if (step <= 1)
		return;
	for (size_t i = first; i < shapes->count; i += step) {
		double sum = 0;
		for (size_t k = i; k < shapes->count && k < i + step; k++)
			sum += shapes->list[k].count;
		shapes->list[kept] = shapes->list[i];
		shapes->list[kept++].count = sum;
	}
	shapes->count = kept;
}

// The batches of one modality; *updates of an epoch of its data set.
static d2v_status add_part(known_shapes *shapes, const d2v_config *config, d2v_modality modality, d2v_device *device,
	double *updates, d2v_error *err) {
	d2v_task_part part = d2v_config_part(config, modality);
	d2v_source *source;
	size_t first = shapes->count;
	double batches = 0, each = (double)d2v_config_batches_per_update(config, 1);
	D2V_TRY(d2v_open_part(&source, config, modality, device, err));
	d2v_status status = modality == D2V_AUDIO   ? add_speech(shapes, source, err)
						: modality == D2V_IMAGE ? add_pictures(shapes, source, &part, err)
												: add_text(shapes, source, err);
	d2v_source_close(source);
	D2V_TRY(status);
	for (size_t i = first; i < shapes->count; i++)
		batches += shapes->list[i].count;
	*updates = ceil(batches / each);
	thin_out(shapes, first);
	return D2V_OK;
}

// In a joint run with shares, how often a modality's batches come follows from them instead of its data set's size.
static void apply_shares(known_shapes *shapes, const d2v_config *config, const double *updates) {
	double whole = 0, shares = 0;
	for (d2v_modality modality = D2V_AUDIO; modality < D2V_MODALITY_END; modality++) {
		whole += updates[modality];
		shares += updates[modality] > 0 ? d2v_config_part(config, modality).share : 0;
	}
	for (size_t i = 0; i < shapes->count && shares > 0; i++) {
		d2v_modality modality = shapes->list[i].modality;
		shapes->list[i].count *= whole * d2v_config_part(config, modality).share / shares / updates[modality];
	}
	shapes->updates_epoch = whole;
}

static d2v_status shapes_of_data(known_shapes *shapes, const d2v_config *config, d2v_device *device, d2v_error *err) {
	double updates[D2V_MODALITY_END] = { 0 };
	for (d2v_modality modality = D2V_AUDIO; modality < D2V_MODALITY_END; modality++)
		if (d2v_model_config_has(&config->model, modality))
			D2V_TRY(add_part(shapes, config, modality, device, &updates[modality], err));
	apply_shares(shapes, config, updates);
	return D2V_OK;
}

// LibriSpeech's mean utterance, when there is no data set to ask.
#define ASSUMED_SECONDS 12.4
static d2v_plan_shape assumed_shape(const d2v_config *config, d2v_modality modality) {
	d2v_task_part part = d2v_config_part(config, modality);
	int64_t length = config->task.tokens_per_sample, batch = part.batch_size;
	if (modality == D2V_AUDIO) {
		length = (int64_t)(ASSUMED_SECONDS * (double)config->task.sample_rate);
		if (config->task.max_sample_size && length > config->task.max_sample_size)
			length = config->task.max_sample_size;
	}
	if (modality != D2V_IMAGE && part.max_tokens && (batch == 0 || part.max_tokens / length < batch))
		batch = part.max_tokens / length;
	return (d2v_plan_shape){ modality, batch > 0 ? batch : 1, length, 1 };
}

static d2v_status assume_shapes(known_shapes *shapes, const d2v_config *config, d2v_error *err) {
	for (d2v_modality modality = D2V_AUDIO; modality < D2V_MODALITY_END; modality++)
		if (d2v_model_config_has(&config->model, modality))
			D2V_TRY(add_shape(shapes, assumed_shape(config, modality), err));
	return D2V_OK;
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

// A joint run without any data set is planned from assumptions, too; with some of them missing it is an error.
static bool has_data(const d2v_config *config) {
	bool any = false;
	for (d2v_modality modality = D2V_AUDIO; modality < D2V_MODALITY_END; modality++)
		any = any || (d2v_model_config_has(&config->model, modality) && d2v_config_part(config, modality).data[0]);
	return any;
}

// Of a card that is not here nothing is known but its memory.
#define CARD_REAL_SIZE 2
static d2v_status make_plan(
	d2v_plan *plan, const d2v_config *config, d2v_device *device, const d2v_plan_data *data, d2v_error *err) {
	double peak = 0;
	if (!given.memory) {
		D2V_TRY(d2v_plan_measure_peak(device, &peak, err));
		return d2v_plan_make(plan, config, device, data, peak, err);
	}
	d2v_device *card;
	D2V_TRY(d2v_device_outline(&card, CARD_REAL_SIZE, given.memory, err));
	d2v_status status = d2v_plan_make(plan, config, card, data, peak, err);
	d2v_device_close(card);
	return status;
}

static d2v_status run_plan(const d2v_config *config, d2v_device *device, d2v_error *err) {
	known_shapes shapes = { 0 };
	d2v_plan plan;
	bool known = has_data(config);
	d2v_status status = known ? shapes_of_data(&shapes, config, device, err) : assume_shapes(&shapes, config, err);
	d2v_plan_data data = { shapes.list, (int)shapes.count, !known, shapes.updates_epoch, shapes.bytes_epoch };
	if (status == D2V_OK)
		status = make_plan(&plan, config, device, &data, err);
	if (status == D2V_OK)
		status = print_plan(&plan, config, err);
	d2v_free(shapes.list);
	return status;
}

// ---- training

static d2v_status train(const d2v_config *config, d2v_device *device, d2v_error *err) {
	d2v_trainer_options options = { .quiet = given.quiet, .stop_asked = d2v_signals_asked };
	d2v_source *source = NULL;
	d2v_trainer *trainer = NULL;
	train_probe *probe = NULL;
	d2v_status status = d2v_open_source(&source, config, device, err);
	if (status == D2V_OK)
		status = train_probe_open(&probe, config, device, &options.probe, err);
	if (status == D2V_OK && !given.quiet)
		status = d2v_plan_measure_peak(device, &options.peak_flops, err);
	if (status == D2V_OK)
		status = d2v_trainer_new(&trainer, config, device, source, &options, err);
	if (status == D2V_OK)
		status = d2v_trainer_run(trainer, err);
	d2v_trainer_free(trainer);
	train_probe_close(probe);
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
	if (given.memory && !given.plan)
		return d2v_fail(err, D2V_INVALID, "--memory is of the card that --plan plans for");
	D2V_TRY(load(&config, operands, err));
	if (given.print_config)
		return print_config(&config, err);
	D2V_TRY(d2v_open_device(&device, config.own.device, config.own.threads, err));
	d2v_status status = given.plan ? run_plan(&config, device, err) : train(&config, device, err);
	d2v_device_close(device);
	return status;
}

int main(int argc, char **argv) {
	thread_waiting_choose(argv);
	d2v_log_set_program(PROGRAM);
	d2v_signals_install();
	return d2v_options_run(&command, argc, argv, run);
}
