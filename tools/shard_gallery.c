#include "tools/shard_gallery.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/random.h"
#include "base/version.h"
#include "tools/loader_settings.h"
#include "tools/option_rows.h"
#include "tools/shard_gallery_sample.h"
#include "tools/shard_gallery_style.h"
#include "tools/shard_output.h"
#include "tools/shard_selection.h"
#include "train/recipe.h"

#include <stdio.h>
#include <string.h>

static struct {
	const char *out, *split, *recipe;
	int64_t samples, seed;
	bool sound, force, json;
} given = { .samples = 36, .seed = 1 };

static d2v_option rows[] = {
	D2V_ROW_OUT(given.out, "DIR", "write DIR/index.html; the folder is made when it is not there (required)"),
	D2V_ROW_SPLIT(given.split, "only these splits (default: all)"),
	{ .name = "samples",
		.letter = 'n',
		.kind = D2V_OPTION_INT,
		.into = &given.samples,
		.min = 1,
		.max = 1000,
		.value = "N",
		.help = "show N samples, drawn from all over the data set (default 36)" },
	{ .name = "recipe",
		.kind = D2V_OPTION_TEXT,
		.into = &given.recipe,
		.value = "NAME|FILE",
		.help = "mask as this recipe does (default audio-base, image-base or text-base)" },
	{ .name = "sound", .kind = D2V_OPTION_FLAG, .into = &given.sound, .help = "put the recordings into the page" },
	D2V_ROW_SEED(given.seed, "seed of the choice and of the masks (default 1)"),
	{ .name = "force", .kind = D2V_OPTION_FLAG, .into = &given.force, .help = "replace the page when it is there" },
	D2V_ROW_JSON(given.json, "print what was made as JSON"),
	{ 0 },
};

const d2v_command shard_gallery_command = {
	.program = "d2v-shard",
	.name = "gallery",
	.operands = "DATASET --out DIR",
	.summary = "a page to look at: samples, and what a model does not see of them",
	.detail = "One HTML file that needs nothing else: pictures, spectrograms or text, with a mask over each as the "
			  "loader draws "
			  "it for training, and how long the samples are. Pointing at a sample lifts its mask.",
	.examples =
		"d2v-shard gallery data/imagenet --out look\n    then open look/index.html\n"
		"d2v-shard gallery data/librispeech --split dev-clean --samples 12 --sound --out heard\n    with players\n",
	.options = rows,
	.operands_min = 1,
	.operands_max = 1,
};

typedef struct gallery {
	const char *path;
	d2v_dataset *dataset;
	d2v_dataset_view *view;
	d2v_token_text *tokenizer;
	d2v_config config;
	const char *recipe;
	shard_gallery_look look;
	shard_page page;
	uint64_t shown;
} gallery;

// ---- how it is masked ----

static const d2v_modality_config *modality_of(const gallery *self) {
	return d2v_model_config_modality(&self->config.model, self->look.manifest->modality);
}

static d2v_status take_recipe(gallery *self, d2v_error *err) {
	d2v_modality modality = self->look.manifest->modality;
	static const char *const usual[] = {
		[D2V_AUDIO] = "audio-base", [D2V_IMAGE] = "image-base", [D2V_TEXT] = "text-base"
	};
	self->recipe = given.recipe ? given.recipe : usual[modality];
	D2V_TRY(d2v_recipe_load(&self->config, self->recipe, NULL, 0, err));
	if (!d2v_model_config_has(&self->config.model, modality))
		return d2v_fail(
			err, D2V_INVALID, "recipe %s: knows nothing of %s data", self->recipe, d2v_modality_name(modality));
	const d2v_modality_config *settings = modality_of(self);
	self->look.masks = d2v_loader_masks(settings);
	D2V_TRY(d2v_masks_check(&self->look.masks, err));
	self->look.tokens = (int32_t)self->config.task.tokens_per_sample;
	if (modality == D2V_IMAGE)
		self->look.side = (int32_t)(settings->input_size / settings->patch_size);
	if (modality == D2V_TEXT)
		D2V_TRY(d2v_token_text_open(&self->tokenizer, self->path, err));
	self->look.tokenizer = self->tokenizer;
	return modality == D2V_AUDIO ? d2v_loader_frames(settings, &self->look.frames, err) : D2V_OK;
}

static void write_masks(gallery *self) {
	const d2v_mask_settings *masks = &self->look.masks;
	shard_page *page = &self->page;
	shard_page_write(page, "<p class=\"quiet\">Masks as <code>%s</code> draws them: ", self->recipe);
	switch (self->look.manifest->modality) {
	case D2V_AUDIO:
		shard_page_write(page,
			"%.0f&nbsp;%% of the frames, in blocks of %d (%d ms each), are hidden from the student, another half for "
			"every "
			"copy of the utterance.",
			masks->mask_prob * 100, masks->mask_length, masks->mask_length * 20);
		break;
	case D2V_IMAGE:
		shard_page_write(page,
			"%.0f&nbsp;%% of the %d × %d patches are hidden from the student; blocks of %d × %d patches %s.",
			masks->mask_prob * 100, self->look.side, self->look.side, masks->mask_length, masks->mask_length,
			masks->inverse_mask ? "are what it sees" : "are what it does not see");
		break;
	case D2V_TEXT:
		shard_page_write(page,
			"%.0f&nbsp;%% of the %d tokens of a block, each by itself, are hidden from the student. The beginning "
			"of each block is shown.",
			masks->mask_prob * 100, self->look.tokens);
		break;
	}
	shard_page_write(page, " Point at a sample to see all of it.</p>\n");
}

// ---- the page around the samples ----

static void write_splits(shard_page *page, const d2v_manifest *manifest) {
	char records[D2V_PROGRESS_TEXT], bytes[D2V_PROGRESS_TEXT], rejected[D2V_PROGRESS_TEXT], total[SHARD_OUTPUT_LENGTH];
	shard_page_write(page, "<table><tr><th>split<th>records<th>length<th>size<th>shards<th>rejected</tr>\n");
	for (size_t i = 0; i < manifest->split_count; i++) {
		const d2v_manifest_split *split = &manifest->splits[i];
		shard_page_write(page, "<tr><td>");
		shard_page_text(page, split->name, strlen(split->name));
		shard_page_write(page, "<td>%s<td>%s<td>%s<td>%zu<td>%s</tr>\n", d2v_progress_count(split->records, records),
			shard_output_total(split->units, manifest->modality, manifest->rate, total),
			d2v_progress_bytes((double)split->bytes, bytes), split->shard_count,
			d2v_progress_count(split->rejected, rejected));
	}
	shard_page_write(page, "</table>\n");
}

static double largest(const json_t *counts) {
	double most = 0;
	size_t i;
	json_t *count;
	json_array_foreach(counts, i, count)
		most = json_number_value(count) > most ? json_number_value(count) : most;
	return most;
}

static const char *axis_text(double value, char text[D2V_PROGRESS_TEXT]) {
	if (value >= 1000)
		return d2v_progress_count((uint64_t)value, text);
	snprintf(text, D2V_PROGRESS_TEXT, "%.6g", value);
	return text;
}

static void write_histogram(shard_page *page, const d2v_manifest_split *split) {
	const json_t *histogram = json_object_get(split->statistics, "histogram"),
				 *counts = json_object_get(histogram, "counts");
	const char *unit = json_string_value(json_object_get(histogram, "unit"));
	double width = json_number_value(json_object_get(histogram, "width")), most = largest(counts);
	size_t bars = json_array_size(counts), first = 0;
	char text[D2V_PROGRESS_TEXT];
	if (!unit || !(width > 0) || !(most > 0))
		return;
	while (!(json_number_value(json_array_get(counts, first)) > 0))
		first++;
	shard_page_write(page, "<div><h3>");
	shard_page_text(page, split->name, strlen(split->name));
	shard_page_write(page, "</h3><div class=\"bars\">");
	for (size_t i = first; i < bars; i++) {
		double count = json_number_value(json_array_get(counts, i));
		shard_page_write(page, "<i style=\"height:%.1f%%\" title=\"%.6g to %.6g ", 100 * count / most,
			(double)i * width, (double)(i + 1) * width);
		shard_page_text(page, unit, strlen(unit));
		shard_page_write(page, ": %.0f\"></i>", count);
	}
	shard_page_write(page, "</div><div class=\"axis\"><span>%s</span><span>", axis_text((double)first * width, text));
	shard_page_text(page, unit, strlen(unit));
	shard_page_write(page, "</span><span>%s</span></div></div>\n", axis_text((double)bars * width, text));
}

static void write_head(gallery *self) {
	const d2v_manifest *manifest = self->look.manifest;
	shard_page *page = &self->page;
	size_t size = strlen(self->path);
	while (size > 1 && self->path[size - 1] == '/')
		size--;
	size_t start = size;
	while (start > 0 && self->path[start - 1] != '/')
		start--;
	char digest[17];
	d2v_hash64_hex(d2v_manifest_digest(manifest), digest);
	shard_page_write(page, "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">"
						   "<meta name=\"viewport\" content=\"width=device-width\">\n<title>");
	shard_page_text(page, self->path + start, size - start);
	shard_page_write(page, "</title>\n<style>\n%s</style>\n<header><h1>", shard_gallery_style);
	shard_page_text(page, self->path + start, size - start);
	shard_page_write(page, "</h1>\n<p class=\"quiet\">%s · digest <code>%s</code></p>\n",
		d2v_modality_contents(manifest->modality), digest);
	write_splits(page, manifest);
	shard_page_write(page, "</header>\n<main>\n<h2>%s</h2>\n<div class=\"lengths\">\n",
		manifest->modality == D2V_IMAGE ? "Sizes" : "Lengths");
	for (size_t i = 0; i < manifest->split_count; i++)
		write_histogram(page, &manifest->splits[i]);
	shard_page_write(page, "</div>\n<h2>Samples</h2>\n");
	write_masks(self);
	shard_page_write(page,
		"<label class=\"toggle\"><input type=\"checkbox\" id=\"masks\" checked> masks</label>\n"
		"<div class=\"%s\">\n",
		manifest->modality == D2V_AUDIO   ? "sounds"
		: manifest->modality == D2V_IMAGE ? "pictures"
										  : "blocks");
}

// ---- samples ----

// The n-th of `samples` places: one in each of as many equal parts.
static uint64_t choose(const gallery *self, uint64_t n, uint64_t samples, uint64_t records) {
	d2v_random random;
	uint64_t first = (uint64_t)((double)n * (double)records / (double)samples);
	uint64_t end = (uint64_t)((double)(n + 1) * (double)records / (double)samples);
	end = end > records ? records : end;
	if (end <= first + 1)
		return first;
	d2v_random_start(&random, d2v_random_key_make(self->look.seed, D2V_RANDOM_GALLERY, 0, n));
	return first + d2v_random_u64(&random) % (end - first);
}

static d2v_status write_sample(gallery *self, uint64_t ordinal, d2v_error *err) {
	d2v_record record;
	char where[1024];
	uint64_t first = 0;
	d2v_dataset_place place = d2v_dataset_place_of(self->dataset, ordinal);
	D2V_TRY(d2v_dataset_read(self->view, ordinal, &record, err));
	D2V_TRY(d2v_dataset_record_at(self->dataset, place.split->shards[0].file, 0, &first, err));
	d2v_status status = shard_gallery_sample(&self->page, &self->look, ordinal - first, &place, &record, err);
	if (status != D2V_OK)
		d2v_error_prefix(err, "%s", d2v_dataset_where(self->dataset, ordinal, where, sizeof where));
	self->shown += status == D2V_OK;
	return status;
}

static d2v_status write_samples(gallery *self, d2v_error *err) {
	uint64_t records = d2v_dataset_records(self->dataset);
	uint64_t samples = (uint64_t)given.samples < records ? (uint64_t)given.samples : records;
	for (uint64_t i = 0; i < samples; i++) {
		uint64_t units = d2v_dataset_rows(self->dataset)[choose(self, i, samples, records)].units;
		self->look.longest = units > self->look.longest ? units : self->look.longest;
	}
	for (uint64_t i = 0; i < samples; i++)
		D2V_TRY(write_sample(self, choose(self, i, samples, records), err));
	shard_page_write(&self->page,
		"</div>\n</main>\n<footer class=\"quiet\">%llu of %llu records, made by d2v-shard %s</footer>\n</html>\n",
		(unsigned long long)samples, (unsigned long long)records, D2V_VERSION);
	return D2V_OK;
}

static d2v_status publish(gallery *self, d2v_error *err) {
	char *path, bytes[D2V_PROGRESS_TEXT];
	D2V_TRY(d2v_path_join(&path, given.out, "index.html", err));
	d2v_status status = D2V_OK;
	if (!given.force && d2v_file_exists(path))
		status = d2v_fail(err, D2V_EXISTS, "%s: is there already; --force replaces it", path);
	if (status == D2V_OK)
		status = d2v_file_make_directories(given.out, err);
	if (status == D2V_OK)
		status = shard_page_publish(&self->page, path, err);
	if (status == D2V_OK && given.json)
		status = shard_output_json(json_pack("{s:s, s:I, s:I, s:s}", "file", path, "samples", (json_int_t)self->shown,
									   "bytes", (json_int_t)self->page.size, "recipe", self->recipe),
			err);
	else if (status == D2V_OK)
		printf("%s: %llu samples, %s\n", path, (unsigned long long)self->shown,
			d2v_progress_bytes((double)self->page.size, bytes));
	d2v_free(path);
	return status;
}

static d2v_status make_gallery(gallery *self, d2v_error *err) {
	if (!given.out || !given.out[0])
		return d2v_fail(err, D2V_INVALID, "--out DIR is missing; see d2v-shard gallery --help");
	D2V_TRY(shard_selection_open(&self->dataset, self->path, given.split, err));
	D2V_TRY(d2v_dataset_view_new(&self->view, self->dataset, err));
	self->look.manifest = d2v_dataset_manifest(self->dataset);
	self->look.seed = (uint64_t)given.seed;
	self->look.sound = given.sound;
	D2V_TRY(take_recipe(self, err));
	write_head(self);
	D2V_TRY(write_samples(self, err));
	return publish(self, err);
}

static d2v_status gallery_of(const d2v_operands *operands, d2v_error *err) {
	const char *path = operands->items[0];
	gallery *self;
	D2V_TRY(d2v_alloc_zero(&self, 1, sizeof *self, err));
	self->path = path;
	shard_page_init(&self->page);
	d2v_status status = make_gallery(self, err);
	shard_page_release(&self->page);
	d2v_token_text_close(self->tokenizer);
	d2v_dataset_view_free(self->view);
	d2v_dataset_close(self->dataset);
	d2v_free(self);
	return status;
}

int shard_gallery_run(const d2v_command *command, int argc, char **argv) {
	return d2v_options_run(command, argc, argv, gallery_of);
}
