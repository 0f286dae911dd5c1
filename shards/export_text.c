#include "shards/export_text.h"

#include "base/memory.h"
#include "shards/token_text.h"

typedef struct writer {
	const d2v_export_documents *documents;
	const d2v_token_text *tokenizer;
	const d2v_manifest_split *split; // of the record before
	uint64_t in_split, seen;         // documents that ended so far: in the split, and in all
	char *text;                      // of the document that goes on
	size_t size, capacity;
} writer;

static d2v_status end_document(writer *self, d2v_error *err) {
	const d2v_export_documents *documents = self->documents;
	uint64_t number = self->in_split++, place = self->seen++;
	size_t size = self->size && self->text[self->size - 1] == '\n' ? self->size - 1 : self->size;
	self->size = 0;
	if (place < documents->start)
		return D2V_OK;
	return documents->put(documents->context, self->split->name, number, self->text ? self->text : "", size, err);
}

static bool has_enough(const writer *self) {
	return self->documents->limit && self->seen >= self->documents->start &&
		   self->seen - self->documents->start >= self->documents->limit;
}

static d2v_status add_block(writer *self, const d2v_record *record, d2v_error *err) {
	d2v_tokens tokens;
	uint64_t at = 0;
	D2V_TRY(d2v_codec_tokens_view(record, &tokens, err));
	for (uint32_t i = 0; i < tokens.documents && !has_enough(self); i++) {
		uint64_t end = d2v_tokens_end(&tokens, i);
		D2V_TRY(
			d2v_token_text_append(self->tokenizer, &tokens, at, end, &self->text, &self->capacity, &self->size, err));
		D2V_TRY(end_document(self, err));
		at = end;
	}
	if (has_enough(self))
		return D2V_OK;
	return d2v_token_text_append(
		self->tokenizer, &tokens, at, tokens.count, &self->text, &self->capacity, &self->size, err);
}

static d2v_status add_record(
	writer *self, d2v_dataset *dataset, d2v_dataset_view *view, uint64_t ordinal, d2v_error *err) {
	d2v_record record;
	char where[1024];
	const d2v_manifest_split *split = d2v_dataset_place_of(dataset, ordinal).split;
	if (split != self->split) {
		if (self->size) // a data set made by hand: its last document has no end
			D2V_TRY(end_document(self, err));
		self->split = split;
		self->in_split = 0;
	}
	D2V_TRY(d2v_dataset_read(view, ordinal, &record, err));
	d2v_status status = add_block(self, &record, err);
	if (status == D2V_CORRUPT || status == D2V_INVALID)
		d2v_error_prefix(err, "%s", d2v_dataset_where(dataset, ordinal, where, sizeof where));
	return status;
}

d2v_status d2v_export_text(const d2v_export_documents *documents, const char *path, d2v_dataset *dataset,
	d2v_dataset_view *view, d2v_error *err) {
	d2v_token_text *tokenizer;
	writer self = { .documents = documents };
	D2V_TRY(d2v_token_text_open(&tokenizer, path, err));
	self.tokenizer = tokenizer;
	d2v_status status = D2V_OK;
	for (uint64_t i = 0; status == D2V_OK && i < d2v_dataset_records(dataset) && !has_enough(&self); i++)
		status = add_record(&self, dataset, view, i, err);
	if (status == D2V_OK && self.size && !has_enough(&self))
		status = end_document(&self, err);
	d2v_free(self.text);
	d2v_token_text_close(tokenizer);
	return status;
}
