// The decoding step for text: a piece of a file, or a whole archive of documents inside another, becomes a run of
// tokens.
#include "base/json.h"
#include "base/memory.h"
#include "base/progress.h"
#include "ingest/decoder.h"
#include "ingest/text_archive.h"
#include "ingest/token_encoder.h"
#include "ingest/tokenizer.h"
#include "shards/codec_tokens.h"

#include <stdio.h>

#define STEP ((uint64_t)1 << 20) // in which a growing run is charged to the budget

typedef struct text_worker {
	d2v_token_encoder *encoder;
	d2v_text_archive *archive; // NULL until there is one
	d2v_codec codec;
} text_worker;

static void text_close(void *worker) {
	text_worker *self = worker;
	if (!self)
		return;
	d2v_token_encoder_free(self->encoder);
	d2v_text_archive_free(self->archive);
	d2v_free(self);
}

static d2v_status text_open(void **worker, const d2v_ingest_options *options, d2v_error *err) {
	text_worker *self;
	*worker = NULL;
	D2V_TRY(d2v_alloc_zero(&self, 1, sizeof *self, err));
	self->codec = options->store;
	d2v_status status =
		d2v_token_encoder_new(&self->encoder, d2v_tokenizer_merges(options->tokenizer), self->codec, err);
	if (status != D2V_OK)
		text_close(self);
	else
		*worker = self;
	return status;
}

static void text_trim(void *worker, size_t keep) {
	d2v_token_run *run = d2v_token_encoder_run(((text_worker *)worker)->encoder);
	if (run->capacity <= keep)
		return;
	d2v_free(run->tokens);
	run->tokens = NULL;
	run->capacity = 0;
}

static size_t size_of(const text_worker *self) {
	const d2v_token_run *run = d2v_token_encoder_run(self->encoder);
	return d2v_codec_tokens_size(self->codec, run->count, (uint32_t)run->documents);
}

// The run becomes the item's payload; the worker gets the item's old memory for the next one.
static d2v_status keep_run(text_worker *self, d2v_item *item, d2v_error *err) {
	d2v_token_run *run = d2v_token_encoder_run(self->encoder);
	size_t size = size_of(self);
	D2V_TRY(d2v_reserve(&run->tokens, &run->capacity, size, 1, err));
	d2v_codec_tokens_encode(self->codec, run->tokens, run->count, run->ends, (uint32_t)run->documents, run->tokens);
	unsigned char *payload = item->payload;
	size_t capacity = item->payload_capacity;
	item->payload = run->tokens;
	item->payload_capacity = run->capacity;
	item->payload_size = size;
	run->tokens = payload;
	run->capacity = capacity;
	item->codec = self->codec;
	item->units = run->count;
	item->rows = (uint32_t)run->documents;
	item->documents = run->documents;
	item->empty = run->empty;
	item->text_bytes = run->bytes;
	return D2V_OK;
}

// ---- archives

typedef struct archive_job {
	text_worker *worker;
	d2v_budget *budget;
	uint64_t ticket, charged, max;
} archive_job;

static d2v_status take_piece(void *context, const unsigned char *bytes, const d2v_text_piece *piece, d2v_error *err) {
	archive_job *job = context;
	D2V_TRY(d2v_token_encoder_add(job->worker->encoder, bytes, piece, err));
	size_t size = size_of(job->worker);
	if (size > job->max)
		return d2v_fail(
			err, D2V_UNSAFE, "its tokens take more than the %llu bytes of --max-member", (unsigned long long)job->max);
	while (size > job->charged) {
		if (!d2v_budget_reserve(job->budget, job->ticket, STEP))
			return D2V_INTERRUPTED;
		job->charged += STEP;
	}
	return D2V_OK;
}

static d2v_status decode_archive(
	text_worker *self, d2v_item *item, const d2v_decoder_file *file, archive_job *job, d2v_error *err) {
	if (!self->archive)
		D2V_TRY(d2v_text_archive_new(&self->archive, err));
	d2v_status status = d2v_text_archive_read(
		self->archive, item->place.name, file->bytes, file->size, take_piece, job, &item->place.rejection, err);
	return status == D2V_INTERRUPTED ? D2V_END : status; // the budget was stopped
}

// ---- items

static d2v_status text_decode(void *worker, d2v_item *item, d2v_decoder_file *file, const d2v_ingest_options *options,
	d2v_budget *budget, uint64_t ticket, d2v_error *err) {
	text_worker *self = worker;
	archive_job job = { .worker = self, .budget = budget, .ticket = ticket, .max = options->max_member };
	d2v_token_encoder_begin(self->encoder);
	d2v_status status = item->in_pieces ? d2v_token_encoder_add(self->encoder, file->bytes, &item->piece, err)
										: decode_archive(self, item, file, &job, err);
	uint64_t charged = item->reserved + job.charged;
	item->reserved = 0;
	if (status == D2V_OK && item->place.rejection.reason != D2V_REASON_NONE)
		item->kind = D2V_ITEM_REJECTED;
	else if (status == D2V_OK)
		status = keep_run(self, item, err);
	if (status == D2V_OK && item->kind == D2V_ITEM_SAMPLE)
		item->reserved = item->payload_size < charged ? item->payload_size : charged;
	d2v_budget_release(budget, charged - item->reserved);
	return status;
}

static d2v_status text_describe(const d2v_ingest_options *options, json_t *described, d2v_error *err) {
	char tokenizer[17], dictionary[17];
	d2v_tokenizer_digest(options->tokenizer, tokenizer);
	d2v_tokenizer_dictionary_digest(options->tokenizer, dictionary);
	uint32_t ids = d2v_vocabulary_size(d2v_tokenizer_vocabulary(options->tokenizer));
	D2V_TRY(d2v_json_set(described, "tokenizer", json_string(tokenizer), err));
	D2V_TRY(d2v_json_set(described, "dictionary", json_string(dictionary), err));
	D2V_TRY(d2v_json_set(described, "vocabulary", json_integer(ids), err));
	D2V_TRY(d2v_json_set(described, "block", json_integer(D2V_TOKENS_BLOCK), err));
	if (options->places.field)
		D2V_TRY(d2v_json_set(described, "field", json_string(options->places.field), err));
	if (options->places.valid)
		D2V_TRY(d2v_json_set(described, "valid", json_string(options->places.valid), err));
	return D2V_OK;
}

static double text_expect(const d2v_ingest_options *options, const d2v_ingest_source *source) {
	(void)options;
	return source->files ? (double)source->bytes * 1.5 : 0; // of OpenWebText, whose xz makes half a token of a byte
}

static void text_tell(
	const d2v_ingest_options *options, const d2v_ingest_result *result, double seconds, char *text, size_t size) {
	char tokens[D2V_PROGRESS_TEXT], bytes[D2V_PROGRESS_TEXT];
	(void)options;
	snprintf(text, size, "%s tokens  %s/s of text", d2v_progress_count(result->new_units, tokens),
		d2v_progress_bytes(seconds > 0 ? (double)result->new_text_bytes / seconds : 0, bytes));
}

static d2v_status text_begin(const d2v_ingest_options *options, d2v_error *err) {
	return d2v_tokenizer_publish(options->tokenizer, options->out, err);
}

static d2v_status text_finish(const d2v_ingest_options *options, const d2v_manifest *manifest, d2v_error *err) {
	return d2v_tokenizer_publish_dictionary(options->tokenizer, manifest, options->out, err);
}

const d2v_decoder d2v_text_item = {
	.modality = D2V_TEXT,
	.record = "text",
	.records = "blocks of text",
	.describe = text_describe,
	.expect = text_expect,
	.tell = text_tell,
	.begin = text_begin,
	.finish = text_finish,
	.open = text_open,
	.decode = text_decode,
	.trim = text_trim,
	.close = text_close,
};
