#include "loaders/text_source.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/memory.h"
#include "loaders/order.h"
#include "loaders/prefetcher.h"
#include "loaders/text_filler.h"
#include "loaders/text_options.h"
#include "shards/vocabulary.h"

#include <stdio.h>
#include <string.h>

#define DICTIONARY "tokenizer/" D2V_DICTIONARY_FILE

// What decides a stream of text, read by all threads.
typedef struct text {
	d2v_text_options options;
	d2v_text_plan plan;
	d2v_dictionary *dictionary;
	uint64_t dictionary_digest;
} text;

static void release(void *self) {
	text *made = self;
	d2v_text_plan_release(&made->plan);
	d2v_dictionary_free(made->dictionary);
	d2v_free(made);
}

static d2v_status filler_new(void *self, d2v_dataset *dataset, d2v_filler **filler, d2v_error *err) {
	const text *made = self;
	return d2v_text_filler_new(filler, dataset, &made->plan, made->dictionary, &made->options, err);
}

static const d2v_manifest_file *find_file(const d2v_manifest *manifest, const char *name) {
	for (size_t i = 0; i < manifest->file_count; i++)
		if (strcmp(manifest->files[i].file, name) == 0)
			return &manifest->files[i];
	return NULL;
}

// Where a data set's options say how many ids its tokenizer has; those of a merged one are its parts', which share it.
static const json_t *options_of(const d2v_manifest *manifest) {
	const json_t *merged = json_object_get(manifest->options, "merged");
	return merged ? json_array_get(merged, 0) : manifest->options;
}

static d2v_status parse_dictionary(
	text *self, const d2v_manifest *manifest, const char *path, const void *bytes, size_t size, d2v_error *err) {
	const d2v_manifest_file *listed = find_file(manifest, DICTIONARY);
	uint64_t ids;
	self->dictionary_digest = d2v_hash64(bytes, size);
	if (!listed || listed->digest != self->dictionary_digest)
		return d2v_fail(
			err, D2V_CORRUPT, "%s: not the dictionary the data set was published with; run d2v-shard verify", path);
	D2V_TRY(d2v_json_get_u64(options_of(manifest), "vocabulary", path, D2V_VOCABULARY_MAX_IDS, &ids, err));
	return d2v_dictionary_parse(&self->dictionary, bytes, size, path, (uint32_t)ids, err);
}

static d2v_status load_dictionary(text *self, const d2v_manifest *manifest, d2v_error *err) {
	char *path = NULL;
	void *bytes = NULL;
	size_t size;
	D2V_TRY(d2v_path_join(&path, self->options.common.data, DICTIONARY, err));
	d2v_status status = d2v_file_read(path, D2V_VOCABULARY_MAX_FILE, &bytes, &size, err);
	if (status == D2V_OK)
		status = parse_dictionary(self, manifest, path, bytes, size, err);
	d2v_free(bytes);
	d2v_free(path);
	return status;
}

static d2v_status make_plan(text *self, d2v_dataset *dataset, size_t *largest, d2v_error *err) {
	const d2v_text_options *o = &self->options;
	D2V_TRY(load_dictionary(self, d2v_dataset_manifest(dataset), err));
	D2V_TRY(d2v_text_plan_make(&self->plan, d2v_dataset_rows(dataset), d2v_dataset_records(dataset), &o->limits,
		o->eval, o->common.seed, err));
	// All batches are alike, but for the first and the last.
	const uint64_t kinds[] = { D2V_ORDER_NONE, 0, self->plan.batches / 2, self->plan.batches - 1 };
	*largest = 0;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		d2v_block_shape shape = d2v_text_filler_shape(&self->plan, o, kinds[i]);
		if (kinds[i] != D2V_ORDER_NONE)
			D2V_TRY(d2v_block_check(&shape, err));
		size_t size = d2v_block_size(&shape);
		*largest = size > *largest ? size : *largest;
	}
	return D2V_OK;
}

static void name_settings(const d2v_text_options *o, char *out, size_t size) {
	snprintf(out, size,
		"dictionary, seed %llu, tokens_per_sample %u, batch_size %u, max_tokens %llu, required_batch_size_multiple %u, "
		"clone_batch %d or mask_prob %g",
		(unsigned long long)o->common.seed, o->limits.tokens_per_sample, o->limits.batch_size,
		(unsigned long long)o->limits.max_tokens, o->limits.required_batch_size_multiple, (int)o->clone_batch,
		o->masks.mask_prob);
}

static d2v_status plan_batches(void *context, d2v_dataset *dataset, d2v_prefetch_plan *plan, d2v_error *err) {
	text *self = context;
	D2V_TRY(make_plan(self, dataset, &plan->largest_block, err));
	plan->items = self->plan.batches;
	plan->sequential = self->options.eval;
	plan->largest_samples = self->plan.batch;
	plan->digest = d2v_text_options_digest(&self->options, dataset, self->dictionary_digest);
	name_settings(&self->options, plan->settings, sizeof plan->settings);
	self->options.common.data = self->options.common.split = NULL; // were borrowed
	return D2V_OK;
}

static const d2v_prefetch_kind kind = { .modality = D2V_TEXT,
	.stages = 1u << D2V_STAGE_READ | 1u << D2V_STAGE_DECODE | 1u << D2V_STAGE_MASK | 1u << D2V_STAGE_DIGEST,
	.plan = plan_batches,
	.filler_new = filler_new,
	.release = release };

d2v_status d2v_text_source_open(d2v_source **source, const d2v_text_options *options, d2v_error *err) {
	text *self;
	*source = NULL;
	D2V_TRY(d2v_alloc_zero(&self, 1, sizeof *self, err));
	self->options = *options;
	d2v_status status = d2v_text_options_check(&self->options, err);
	if (status != D2V_OK) {
		release(self);
		return status;
	}
	return d2v_prefetcher_open(source, &kind, self, &self->options.common, err);
}

const d2v_text_plan *d2v_text_source_plan(const d2v_source *source) {
	return &((const text *)d2v_prefetcher_self(source))->plan;
}

uint32_t d2v_text_source_rows(const d2v_source *source) {
	return d2v_dictionary_rows(((const text *)d2v_prefetcher_self(source))->dictionary);
}
