// d2v-embed: features of a data set or of loose files, as safetensors.
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/progress.h"
#include "base/signals.h"
#include "loaders/prefetcher.h"
#include "loaders/text_source.h"
#include "tools/embed_files.h"
#include "tools/feature_choice.h"
#include "tools/open_device.h"
#include "tools/open_source.h"
#include "tools/option_rows.h"
#include "tools/thread_waiting.h"
#include "tools/trained_model.h"
#include "train/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROGRAM "d2v-embed"

static struct {
	d2v_feature_choice features;
	const char *out, *split, *device;
	int64_t threads, workers;
	bool quiet;
} given = { .workers = 1 };

static d2v_option rows[] = {
	D2V_ROW_OUT(given.out, "FILE", "write this safetensors file (required)"),
	D2V_FEATURE_OPTIONS(given.features),
	D2V_ROW_SPLIT(given.split, "of these splits (default: the only one, or train)"),
	D2V_ROW_DEVICE(given.device, "cpu, cuda, cuda:N or auto (default: auto)"),
	D2V_ROW_THREADS(given.threads, 0, "compute threads (default 0: all processors)"),
	D2V_ROW_WORKERS(given.workers),
	D2V_ROW_QUIET(given.quiet, "no lines about progress"),
	{ 0 },
};

static const d2v_command command = {
	.program = PROGRAM,
	.operands = "CHECKPOINT DATASET|FILE... --out FILE.safetensors",
	.summary = "features of a data set or of files",
	.detail =
		"CHECKPOINT is a file, or the folder of a run, whose newest is taken. FILEs are sound (FLAC, WAV, OGG, MP3) or "
		"pictures (JPEG, PNG). The model runs over whole samples without masks.\n\n"
		"The file holds 'features', a row of the model's width for each sample in the order of the data set, and "
		"'labels' where the samples have some. With --pool none it has a row for every token instead, and 'offsets': "
		"sample i has the rows offsets[i] up to offsets[i + 1]. Its metadata name the samples ('names', a JSON array), "
		"the layer, the pooling, the weights, and the updates the checkpoint was made after. Samples too short for the "
		"model are left out, with a warning.",
	.examples = "d2v-embed runs/tiny pictures --out features.safetensors\n"
				"    one vector for each picture of a data set\n"
				"d2v-embed runs/audio a.flac b.wav --layer 3 --pool none --out frames.safetensors\n"
				"    every frame of two recordings, from the third block\n",
	.options = rows,
	.operands_min = 2,
	.operands_max = -1,
};

// The features of all samples, each where its record is.
typedef struct gathered {
	d2v_dataset *dataset;
	float **features; // (count) of each sample, NULL: none
	int64_t *rows;    // (count) that it has
	uint64_t count, missing;
	int64_t width;
} gathered;

static void release(gathered *all) {
	for (uint64_t i = 0; all->features && i < all->count; i++)
		d2v_free(all->features[i]);
	d2v_free(all->features);
	d2v_free(all->rows);
}

static d2v_status keep(gathered *all, uint64_t id, const float *values, int64_t count, d2v_error *err) {
	if (id >= all->count)
		return d2v_fail(
			err, D2V_INVALID, "sample %llu of %llu", (unsigned long long)id, (unsigned long long)all->count);
	D2V_TRY(d2v_alloc(&all->features[id], (size_t)(count * all->width) + 1, sizeof(float), err));
	memcpy(all->features[id], values, (size_t)(count * all->width) * sizeof(float));
	all->rows[id] = count;
	return D2V_OK;
}

static d2v_status take_batch(gathered *all, d2v_feature_reader *reader, const d2v_batch *batch, d2v_error *err) {
	d2v_feature_rows found;
	D2V_TRY(d2v_feature_reader_read(reader, batch, &found, err));
	for (int64_t b = 0; b < found.samples; b++)
		D2V_TRY(keep(
			all, batch->ids[b], found.rows + found.first[b] * found.width, found.first[b + 1] - found.first[b], err));
	return D2V_OK;
}

static d2v_status gather(gathered *all, d2v_feature_reader *reader, d2v_source *source, d2v_error *err) {
	uint64_t steps = d2v_source_epoch_steps(source, 1), samples = 0;
	d2v_progress *progress;
	D2V_TRY(d2v_progress_new(&progress, given.quiet, err));
	d2v_status status = D2V_OK;
	for (uint64_t i = 0; i < steps && status == D2V_OK; i++) {
		const d2v_batch *batch;
		status = d2v_source_next(source, &batch, err);
		if (status != D2V_OK)
			break;
		status = take_batch(all, reader, batch, err);
		samples += (uint64_t)batch->samples;
		d2v_source_give(source, batch);
		d2v_progress_update(progress, (double)samples, (double)all->count, "samples %llu of %llu",
			(unsigned long long)samples, (unsigned long long)all->count);
		if (status == D2V_OK && d2v_signals_asked())
			status = d2v_fail(err, D2V_INTERRUPTED, "stopped; nothing was written");
	}
	d2v_progress_finish(progress);
	d2v_progress_free(progress);
	all->missing = all->count - samples;
	return status;
}

// ---- writing

typedef struct table {
	float *features;
	int64_t *offsets;
	int32_t *labels;
	json_t *names;
	int64_t samples, rows;
	bool labelled;
} table;

static d2v_status add_name(table *made, d2v_dataset_view *view, uint64_t record, bool loose, d2v_error *err) {
	d2v_record read;
	char name[D2V_RECORD_NAME_MAX + 1];
	D2V_TRY(d2v_dataset_read(view, record, &read, err));
	snprintf(name, sizeof name, "%.*s", (int)read.name_size, read.name);
	if (json_array_append_new(made->names, json_string(loose ? embed_files_name(name) : name)) != 0)
		return d2v_fail(err, D2V_NO_MEMORY, "out of memory for the names");
	return D2V_OK;
}

// Blocks of text have no records of their own: they are named by their numbers.
static d2v_status add_number(table *made, uint64_t number, d2v_error *err) {
	char name[32];
	snprintf(name, sizeof name, "%llu", (unsigned long long)number);
	if (json_array_append_new(made->names, json_string(name)) != 0)
		return d2v_fail(err, D2V_NO_MEMORY, "out of memory for the names");
	return D2V_OK;
}

static d2v_status pack(
	table *made, const gathered *all, d2v_dataset_view *view, bool loose, bool blocks, d2v_error *err) {
	for (uint64_t i = 0; i < all->count; i++)
		made->rows += all->features[i] ? all->rows[i] : 0;
	D2V_TRY(d2v_alloc(&made->features, (size_t)(made->rows * all->width) + 1, sizeof(float), err));
	D2V_TRY(d2v_alloc_zero(&made->offsets, all->count + 1, sizeof *made->offsets, err));
	D2V_TRY(d2v_alloc(&made->labels, all->count + 1, sizeof *made->labels, err));
	made->names = json_array();
	if (!made->names)
		return d2v_fail(err, D2V_NO_MEMORY, "out of memory for the names");
	int64_t at = 0;
	for (uint64_t i = 0; i < all->count; i++) {
		if (!all->features[i])
			continue;
		memcpy(made->features + at * all->width, all->features[i], (size_t)(all->rows[i] * all->width) * sizeof(float));
		at += all->rows[i];
		made->labels[made->samples] = blocks ? D2V_RECORD_NO_LABEL : d2v_dataset_rows(all->dataset)[i].label;
		made->labelled = made->labelled || made->labels[made->samples] != D2V_RECORD_NO_LABEL;
		made->offsets[++made->samples] = at;
		D2V_TRY(blocks ? add_number(made, i, err) : add_name(made, view, i, loose, err));
	}
	return D2V_OK;
}

static d2v_status save(const table *made, int64_t width, uint64_t updates, bool pooled, d2v_error *err) {
	char *names = json_dumps(made->names, JSON_COMPACT), updates_text[32];
	if (!names)
		return d2v_fail(err, D2V_NO_MEMORY, "out of memory for the names");
	snprintf(updates_text, sizeof updates_text, "%llu", (unsigned long long)updates);
	static const char *const poolings[] = { "mean", "cls", "none" };
	const char *metadata[] = { "names", names, "layer", given.features.layer ? given.features.layer : "last", "pooling",
		poolings[given.features.pooling], "weights", given.features.weights ? "teacher" : "student", "updates",
		updates_text, NULL };
	d2v_safetensors_tensor tensors[3] = {
		{ .name = "features", .dtype = D2V_F32, .rank = 2, .shape = { made->rows, width }, .data = made->features }
	};
	int count = 1;
	if (!pooled)
		tensors[count++] = (d2v_safetensors_tensor){
			.name = "offsets", .dtype = D2V_I64, .rank = 1, .shape = { made->samples + 1 }, .data = made->offsets
		};
	if (made->labelled)
		tensors[count++] = (d2v_safetensors_tensor){
			.name = "labels", .dtype = D2V_I32, .rank = 1, .shape = { made->samples }, .data = made->labels
		};
	d2v_status status = d2v_safetensors_save(given.out, tensors, count, metadata, err);
	free(names);
	return status;
}

static d2v_status write_out(const gathered *all, uint64_t updates, bool loose, bool blocks, d2v_error *err) {
	table made = { 0 };
	d2v_dataset_view *view = NULL;
	d2v_status status = d2v_dataset_view_new(&view, all->dataset, err);
	if (status == D2V_OK)
		status = pack(&made, all, view, loose, blocks, err);
	if (status == D2V_OK)
		status = save(&made, all->width, updates, given.features.pooling != D2V_POOLING_NONE, err);
	if (status == D2V_OK && all->missing)
		d2v_warn("%llu samples are too short for the model and were left out", (unsigned long long)all->missing);
	if (status == D2V_OK && !given.quiet)
		d2v_info("%s: %lld samples, %lld rows of width %lld", given.out, (long long)made.samples, (long long)made.rows,
			(long long)all->width);
	d2v_free(made.features);
	d2v_free(made.offsets);
	d2v_free(made.labels);
	json_decref(made.names);
	d2v_dataset_view_free(view);
	return status;
}

// ---- running

static d2v_status embed(
	const d2v_trained_model *trained, const char *dataset, bool loose, d2v_device *device, d2v_error *err) {
	d2v_eval_data wanted = { .data = dataset, .split = given.split, .threads = given.workers };
	d2v_feature_settings settings;
	d2v_feature_reader *reader = NULL;
	d2v_source *source = NULL;
	d2v_modality modality;
	gathered all = { .width = trained->config.model.embed_dim };
	D2V_TRY(d2v_feature_choice_settings(&given.features, &settings, err));
	D2V_TRY(d2v_manifest_modality(dataset, &modality, err));
	if (!d2v_model_config_has(&trained->config.model, modality))
		return d2v_fail(err, D2V_INVALID, "%s%s %s, which the model has no encoder for", loose ? "the files" : dataset,
			loose ? " hold" : " holds", d2v_modality_name(modality));
	d2v_status status = d2v_open_eval_source(&source, &trained->config, modality, &wanted, device, err);
	if (status == D2V_OK) {
		all.dataset = d2v_prefetcher_dataset_of(source);
		all.count = modality == D2V_TEXT ? d2v_text_source_plan(source)->blocks : d2v_dataset_records(all.dataset);
		status = d2v_alloc_zero(&all.features, all.count + 1, sizeof *all.features, err);
	}
	if (status == D2V_OK)
		status = d2v_alloc_zero(&all.rows, all.count + 1, sizeof *all.rows, err);
	if (status == D2V_OK)
		status = d2v_feature_reader_new(&reader, trained->model, &settings, err);
	if (status == D2V_OK)
		status = gather(&all, reader, source, err);
	if (status == D2V_OK)
		status = write_out(&all, trained->updates, loose, modality == D2V_TEXT, err);
	d2v_feature_reader_free(reader);
	release(&all);
	d2v_source_close(source);
	return status;
}

// A data set is a folder; everything else is loose files.
static d2v_status embed_operands(
	const d2v_trained_model *trained, const d2v_operands *operands, d2v_device *device, d2v_error *err) {
	embed_files files;
	if (operands->count == 2 && d2v_file_is_directory(operands->items[1]))
		return embed(trained, operands->items[1], false, device, err);
	D2V_TRY(embed_files_open(&files, operands->items + 1, operands->count - 1, err));
	d2v_status status = embed(trained, files.dataset, true, device, err);
	embed_files_close(&files);
	return status;
}

static d2v_status run(const d2v_operands *operands, d2v_error *err) {
	static d2v_trained_model trained;
	d2v_device *device = NULL;
	if (!given.out)
		return d2v_fail(err, D2V_INVALID, "where to? --out FILE.safetensors is required");
	D2V_TRY(d2v_open_device(&device, given.device ? given.device : "auto", given.threads, err));
	d2v_status status = d2v_trained_model_open(&trained, operands->items[0], device, err);
	if (status == D2V_OK)
		status = embed_operands(&trained, operands, device, err);
	d2v_trained_model_close(&trained);
	d2v_device_close(device);
	return status;
}

int main(int argc, char **argv) {
	thread_waiting_choose(argv);
	d2v_log_set_program(PROGRAM);
	d2v_signals_install();
	return d2v_options_run(&command, argc, argv, run);
}
