#include "shards/export.h"

#include "base/file.h"
#include "base/memory.h"
#include "shards/dataset.h"
#include "shards/export_sink.h"
#include "shards/export_text.h"
#include "shards/payload_file.h"

#include <stdio.h>
#include <string.h>

#define PATH_ROOM 2048

typedef struct exporter {
	const d2v_export_options *options;
	d2v_dataset *dataset;
	d2v_dataset_view *view;
	d2v_export_sink *sink;
	d2v_export_result *result;
	char *labels; // lines of labels.tsv
	size_t labels_size, labels_capacity;
} exporter;

static d2v_status put(exporter *self, const char *path, const void *bytes, size_t size, d2v_error *err) {
	D2V_TRY(d2v_export_put(self->sink, path, bytes, size, err));
	self->result->files++;
	self->result->bytes += size;
	return D2V_OK;
}

static bool has_class(const exporter *self, const d2v_record *record) {
	return record->label >= 0 && (size_t)record->label < d2v_dataset_manifest(self->dataset)->class_count;
}

// "CLASS/" for pictures in folders, unless the record's name begins with it.
static const char *class_folder(const exporter *self, const d2v_record *record) {
	if (self->options->tar || !has_class(self, record))
		return "";
	const char *name = d2v_dataset_manifest(self->dataset)->classes[record->label].name;
	size_t size = strlen(name);
	bool named = record->name_size > size && memcmp(record->name, name, size) == 0 && record->name[size] == '/';
	return named || strchr(name, '/') || !d2v_path_is_safe(name) ? "" : name;
}

// "SPLIT/CLASS/NAME", without an ending.
static d2v_status make_stem(
	const exporter *self, uint64_t ordinal, const d2v_record *record, char stem[PATH_ROOM], d2v_error *err) {
	const char *class = class_folder(self, record);
	int size = snprintf(stem, PATH_ROOM, "%s/%s%s%.*s", d2v_dataset_place_of(self->dataset, ordinal).split->name, class,
		class[0] ? "/" : "", (int)record->name_size, record->name);
	if (size < 0 || size >= PATH_ROOM - 16 || !d2v_path_is_safe(stem) || stem[size - 1] == '/')
		return d2v_fail(
			err, D2V_UNSAFE, "its name, '%.*s', cannot be the name of a file", (int)record->name_size, record->name);
	char *last = strrchr(stem, '/') + 1;
	for (char *dot = self->options->tar ? strchr(last, '.') : NULL; dot; dot = strchr(dot, '.'))
		*dot = '_';
	return D2V_OK;
}

static d2v_status put_beside(
	exporter *self, const char *stem, const char *ending, const void *bytes, size_t size, d2v_error *err) {
	char path[PATH_ROOM + 16];
	snprintf(path, sizeof path, "%s.%s", stem, ending);
	return put(self, path, bytes, size, err);
}

static d2v_status put_label(exporter *self, const char *stem, int32_t label, d2v_error *err) {
	char text[PATH_ROOM + 32];
	if (self->options->tar) {
		int size = snprintf(text, sizeof text, "%d", label);
		return put_beside(self, stem, "cls", text, (size_t)size, err);
	}
	size_t size = (size_t)snprintf(text, sizeof text, "%s\t%d\n", stem, label);
	D2V_TRY(d2v_reserve(&self->labels, &self->labels_capacity, self->labels_size + size, 1, err));
	memcpy(self->labels + self->labels_size, text, size);
	self->labels_size += size;
	return D2V_OK;
}

static d2v_status put_record(exporter *self, uint64_t ordinal, const d2v_record *record, d2v_error *err) {
	char stem[PATH_ROOM];
	const char *ending = self->options->ending ? self->options->ending : d2v_payload_file_ending(record);
	d2v_payload_file file;
	D2V_TRY(make_stem(self, ordinal, record, stem, err));
	D2V_TRY(d2v_export_next(self->sink, err));
	D2V_TRY(d2v_payload_file_make(&file, record, ending, err));
	d2v_status status = put_beside(self, stem, ending, file.bytes, file.size, err);
	d2v_payload_file_release(&file);
	if (status == D2V_OK && record->text_size)
		status = put_beside(self, stem, "txt", record->text, record->text_size, err);
	if (status == D2V_OK && record->label != D2V_RECORD_NO_LABEL && (self->options->tar || !has_class(self, record)))
		status = put_label(self, stem, record->label, err);
	return status;
}

static d2v_status export_record(exporter *self, uint64_t ordinal, d2v_error *err) {
	d2v_record record;
	char where[1024];
	D2V_TRY(d2v_dataset_read(self->view, ordinal, &record, err));
	d2v_status status = put_record(self, ordinal, &record, err);
	if (status == D2V_CORRUPT || status == D2V_UNSAFE || status == D2V_INVALID || status == D2V_UNDECODABLE)
		d2v_error_prefix(err, "%s", d2v_dataset_where(self->dataset, ordinal, where, sizeof where));
	self->result->records++;
	return status;
}

static d2v_status export_records(exporter *self, d2v_error *err) {
	const d2v_export_options *options = self->options;
	uint64_t count = d2v_dataset_records(self->dataset), start = options->start < count ? options->start : count;
	uint64_t end = options->limit && options->limit < count - start ? start + options->limit : count;
	for (uint64_t i = start; i < end; i++) {
		if (i + 8 < end)
			d2v_dataset_will_need(self->view, i + 8);
		D2V_TRY(export_record(self, i, err));
		if (options->progress &&
			!options->progress(options->context, self->result->records, end - start, self->result->bytes))
			return d2v_fail(
				err, D2V_INTERRUPTED, "interrupted after %llu records", (unsigned long long)self->result->records);
	}
	return self->labels_size ? put(self, "labels.tsv", self->labels, self->labels_size, err) : D2V_OK;
}

static d2v_status put_document(
	void *context, const char *split, uint64_t document, const char *text, size_t size, d2v_error *err) {
	exporter *self = context;
	const d2v_export_options *options = self->options;
	char path[PATH_ROOM];
	snprintf(path, sizeof path, "%s/%08llu.txt", split, (unsigned long long)document);
	D2V_TRY(d2v_export_next(self->sink, err));
	D2V_TRY(put(self, path, text, size, err));
	self->result->records++;
	if (options->progress && !options->progress(options->context, self->result->records, 0, self->result->bytes))
		return d2v_fail(
			err, D2V_INTERRUPTED, "interrupted after %llu documents", (unsigned long long)self->result->records);
	return D2V_OK;
}

static d2v_status export_all(exporter *self, d2v_error *err) {
	const d2v_export_options *options = self->options;
	D2V_TRY(d2v_dataset_open(&self->dataset, options->dataset, options->split ? options->split : D2V_DATASET_ALL, err));
	D2V_TRY(d2v_dataset_view_new(&self->view, self->dataset, err));
	D2V_TRY(options->tar ? d2v_export_open_tar(&self->sink, options->out, options->tar_bytes, err)
						 : d2v_export_open_folder(&self->sink, options->out, err));
	if (d2v_dataset_manifest(self->dataset)->modality != D2V_TEXT)
		return export_records(self, err);
	d2v_export_documents documents = {
		.start = options->start, .limit = options->limit, .put = put_document, .context = self
	};
	return d2v_export_text(&documents, options->dataset, self->dataset, self->view, err);
}

d2v_status d2v_export_run(const d2v_export_options *options, d2v_export_result *result, d2v_error *err) {
	exporter self = { .options = options, .result = result };
	*result = (d2v_export_result){ 0 };
	d2v_status status = export_all(&self, err);
	if (status == D2V_OK)
		status = d2v_export_commit(self.sink, err);
	else
		d2v_export_abandon(self.sink);
	d2v_dataset_view_free(self.view);
	d2v_dataset_close(self.dataset);
	d2v_free(self.labels);
	return status;
}
