#include "ingest/text_check.h"

#include "base/memory.h"
#include "base/progress.h"
#include "ingest/reader.h"
#include "ingest/text_archive.h"
#include "ingest/text_lines.h"
#include "ingest/token_encoder.h"
#include "ingest/tokenizer.h"
#include "shards/codec_tokens.h"
#include "shards/dataset.h"

#include <stdio.h>
#include <string.h>

// Where a split is in its stream of tokens.
typedef struct cursor {
	char name[D2V_SPLIT_NAME_MAX + 1];
	d2v_dataset *dataset;
	d2v_dataset_view *view;
	uint64_t record; // the next one
	d2v_tokens tokens;
	uint64_t at; // in tokens
	uint32_t document;
} cursor;

typedef struct checking {
	const d2v_ingest_options *options;
	const d2v_vocabulary *vocabulary;
	d2v_text_check_result *result;
	cursor cursors[D2V_JOURNAL_SPLITS_MAX];
	size_t cursor_count;
	cursor *current;
	const char *member; // being compared
	d2v_text_archive *archive;
	d2v_token_encoder *encoder; // says whether the ingest found an archive too large
	d2v_progress *progress;
} checking;

static d2v_status differs(const checking *self, const char *what, d2v_error *err) {
	const cursor *here = self->current;
	return d2v_fail(err, D2V_CORRUPT, "%s/%s: record %llu, token %llu: %s: %s (document %llu, line %llu of the check)",
		self->options->out, here->name, (unsigned long long)(here->record ? here->record - 1 : 0),
		(unsigned long long)here->at, self->member, what, (unsigned long long)self->result->documents,
		(unsigned long long)self->result->lines);
}

// ---- the stored tokens

static d2v_status open_cursor(checking *self, const char *split, d2v_error *err) {
	D2V_ASSERT(self->cursor_count < D2V_JOURNAL_SPLITS_MAX);
	self->current = &self->cursors[self->cursor_count++];
	snprintf(self->current->name, sizeof self->current->name, "%s", split);
	D2V_TRY(d2v_dataset_open(&self->current->dataset, self->options->out, split, err));
	return d2v_dataset_view_new(&self->current->view, self->current->dataset, err);
}

static d2v_status choose_cursor(checking *self, const char *split, d2v_error *err) {
	for (size_t i = 0; i < self->cursor_count; i++)
		if (strcmp(self->cursors[i].name, split) == 0) {
			self->current = &self->cursors[i];
			return D2V_OK;
		}
	return open_cursor(self, split, err);
}

// *there false: the split has no more tokens.
static d2v_status next_token(cursor *here, uint32_t *token, bool *there, d2v_error *err) {
	*there = true;
	while (here->at == here->tokens.count) {
		d2v_record record;
		*there = here->record < d2v_dataset_records(here->dataset);
		if (!*there)
			return D2V_OK;
		D2V_TRY(d2v_dataset_read(here->view, here->record++, &record, err));
		D2V_TRY(d2v_codec_tokens_view(&record, &here->tokens, err));
		here->at = here->document = 0;
	}
	*token = d2v_tokens_at(&here->tokens, here->at++);
	return D2V_OK;
}

static d2v_status expect_line_end(checking *self, d2v_error *err) {
	uint32_t token;
	bool there;
	D2V_TRY(next_token(self->current, &token, &there, err));
	self->result->tokens++;
	return there && token == D2V_TOKEN_LINE_END ? D2V_OK : differs(self, "a line does not end where it does", err);
}

static d2v_status check_line(void *context, const unsigned char *line, size_t size, bool whole, d2v_error *err) {
	checking *self = context;
	for (size_t at = 0; at < size;) {
		uint32_t id;
		bool there;
		D2V_TRY(next_token(self->current, &id, &there, err));
		if (!there || id >= d2v_vocabulary_size(self->vocabulary))
			return differs(self, there ? "a line ends too early" : "tokens are missing", err);
		d2v_token token = d2v_vocabulary_token(self->vocabulary, id);
		if (token.size > size - at || memcmp(token.bytes, line + at, token.size) != 0)
			return differs(self, "a token stands for other bytes", err);
		at += token.size;
		self->result->tokens++;
	}
	self->result->bytes += size;
	self->result->lines += whole;
	return whole ? expect_line_end(self, err) : D2V_OK;
}

static d2v_status check_document(void *context, d2v_error *err) {
	checking *self = context;
	cursor *here = self->current;
	D2V_TRY(expect_line_end(self, err));
	self->result->documents++;
	if (here->document == here->tokens.documents || d2v_tokens_end(&here->tokens, here->document) != here->at)
		return differs(self, "a document does not end where it does", err);
	here->document++;
	return D2V_OK;
}

// Nothing may be left over.
static d2v_status check_ends(checking *self, d2v_error *err) {
	for (size_t i = 0; i < self->cursor_count; i++) {
		uint32_t token;
		bool there;
		self->current = &self->cursors[i];
		self->member = "behind all sources";
		D2V_TRY(next_token(self->current, &token, &there, err));
		if (there)
			return differs(self, "tokens are left over", err);
	}
	return D2V_OK;
}

// ---- the sources

static d2v_status check_piece(void *context, const unsigned char *bytes, const d2v_text_piece *piece, d2v_error *err) {
	d2v_text_sink sink = { .line = check_line, .end_document = check_document, .context = context };
	uint64_t empty = 0;
	// What is wrong with the data set must not look as if it were wrong with the archive.
	d2v_error why;
	d2v_status status = d2v_text_lines(bytes, piece, &sink, &empty, &why);
	if (status == D2V_OK)
		return D2V_OK;
	return d2v_fail(err, status == D2V_CORRUPT ? D2V_INVALID : status, "%s", why.text);
}

static d2v_status measure_piece(
	void *context, const unsigned char *bytes, const d2v_text_piece *piece, d2v_error *err) {
	checking *self = context;
	const d2v_token_run *run = d2v_token_encoder_run(self->encoder);
	D2V_TRY(d2v_token_encoder_add(self->encoder, bytes, piece, err));
	if (d2v_codec_tokens_size(self->options->store, run->count, (uint32_t)run->documents) > self->options->max_member)
		return d2v_fail(err, D2V_UNSAFE, "too large");
	return D2V_OK;
}

static d2v_status check_archive(checking *self, const void *bytes, size_t size, d2v_error *err) {
	d2v_rejection rejection = { 0 };
	d2v_token_encoder_begin(self->encoder);
	D2V_TRY(d2v_text_archive_read(self->archive, self->member, bytes, size, measure_piece, self, &rejection, err));
	if (rejection.reason != D2V_REASON_NONE)
		return D2V_OK; // the ingest left it out
	return d2v_text_archive_read(self->archive, self->member, bytes, size, check_piece, self, &rejection, err);
}

static d2v_status check_item(checking *self, const d2v_item *item, const void *bytes, size_t size, d2v_error *err) {
	if (item->kind != D2V_ITEM_SAMPLE)
		return D2V_OK;
	self->member = item->place.name;
	D2V_TRY(choose_cursor(self, item->place.split, err));
	return item->in_pieces ? check_piece(self, bytes, &item->piece, err) : check_archive(self, bytes, size, err);
}

static d2v_status check_sources(
	checking *self, d2v_reader *reader, d2v_budget *budget, d2v_item *item, d2v_error *err) {
	unsigned char *bytes = NULL;
	size_t capacity = 0, size;
	char have[D2V_PROGRESS_TEXT];
	d2v_status status;
	while ((status = d2v_reader_next(reader, 0, budget, item, &bytes, &capacity, &size, err)) == D2V_OK) {
		status = check_item(self, item, bytes, size, err);
		d2v_budget_release(budget, item->reserved);
		item->reserved = 0;
		if (status != D2V_OK)
			break;
		d2v_progress_update(self->progress, (double)item->done, (double)item->total, "checked %s of text",
			d2v_progress_bytes((double)self->result->bytes, have));
	}
	d2v_free(bytes);
	return status == D2V_END ? check_ends(self, err) : status;
}

static d2v_status run(checking *self, d2v_error *err) {
	d2v_reader reader = { 0 };
	d2v_journal journal;
	d2v_budget *budget = NULL;
	d2v_item *item = NULL;
	d2v_journal_init(&journal);
	d2v_status status = d2v_alloc_zero(&item, 1, sizeof *item, err);
	if (status == D2V_OK)
		status = d2v_budget_new(&budget, UINT64_MAX / 2, err);
	if (status == D2V_OK)
		status = d2v_reader_open(&reader, self->options, NULL, &journal, err);
	if (status == D2V_OK)
		status = check_sources(self, &reader, budget, item, err);
	d2v_reader_close(&reader);
	d2v_budget_free(budget);
	d2v_free(item);
	d2v_journal_release(&journal);
	return status;
}

static void release(checking *self) {
	for (size_t i = 0; i < self->cursor_count; i++) {
		d2v_dataset_view_free(self->cursors[i].view);
		d2v_dataset_close(self->cursors[i].dataset);
	}
	d2v_text_archive_free(self->archive);
	d2v_token_encoder_free(self->encoder);
	d2v_progress_free(self->progress);
	d2v_free(self);
}

d2v_status d2v_text_check(const d2v_ingest_options *options, d2v_text_check_result *result, d2v_error *err) {
	checking *self;
	d2v_error why = { 0 };
	*result = (d2v_text_check_result){ 0 };
	D2V_TRY(d2v_alloc_zero(&self, 1, sizeof *self, err));
	self->options = options;
	self->vocabulary = d2v_tokenizer_vocabulary(options->tokenizer);
	self->result = result;
	d2v_status status = d2v_progress_new(&self->progress, options->quiet, &why);
	if (status == D2V_OK)
		status = d2v_text_archive_new(&self->archive, &why);
	if (status == D2V_OK)
		status = d2v_token_encoder_new(&self->encoder, d2v_tokenizer_merges(options->tokenizer), options->store, &why);
	if (status == D2V_OK)
		status = run(self, &why);
	if (self->progress)
		d2v_progress_finish(self->progress);
	release(self);
	if (status == D2V_OK)
		return D2V_OK;
	return d2v_fail(err, status == D2V_INVALID ? D2V_CORRUPT : status, "--check: %s", why.text);
}
