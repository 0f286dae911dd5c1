// libarchive is named here and in ingest/origin_archive.c only.
#include "shards/export_sink.h"

#include "base/file.h"
#include "base/memory.h"

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>
#include <string.h>

typedef struct tar {
	d2v_export_sink sink;
	char *out;
	uint64_t max_bytes, count; // archives begun
	char *path;                // of the one being written
	d2v_file_out *file;
	struct archive *archive; // NULL between archives
	d2v_error file_error;    // what the file said when libarchive wrote
	bool over;               // nothing more is to be written
	locale_t locale;         // names are UTF-8, whatever the user's locale
} tar;

// libarchive is never told of a failure: it would then skip the close that frees its buffer. It is looked for after every
// call instead (failed), and what comes after it is dropped.
static la_ssize_t on_write(struct archive *archive, void *context, const void *bytes, size_t size) {
	tar *self = context;
	(void)archive;
	if (!self->over)
		self->over = d2v_file_write(self->file, bytes, size, &self->file_error) != D2V_OK;
	return (la_ssize_t)size;
}

static bool failed(const tar *self, bool fine) {
	return !fine || self->file_error.status != D2V_OK;
}

static d2v_status broken(tar *self, d2v_error *err) {
	if (self->file_error.status != D2V_OK)
		return d2v_fail(err, self->file_error.status, "%s", self->file_error.text);
	const char *said = self->archive ? archive_error_string(self->archive) : NULL;
	return d2v_fail(err, D2V_IO, "%s: cannot be written: %s", self->path, said ? said : "out of memory");
}

static d2v_status name_archive(tar *self, d2v_error *err) {
	d2v_free(self->path);
	self->path = NULL;
	if (!self->max_bytes)
		return d2v_strdup(&self->path, self->out, err);
	return d2v_asprintf(&self->path, err, "%.*s-%06llu.tar", (int)(strlen(self->out) - strlen(".tar")), self->out,
		(unsigned long long)self->count);
}

static d2v_status begin_archive(tar *self, d2v_error *err) {
	D2V_TRY(name_archive(self, err));
	if (d2v_file_exists(self->path))
		return d2v_fail(err, D2V_EXISTS, "%s: is there already; remove it or give another name", self->path);
	D2V_TRY(d2v_file_begin(&self->file, self->path, err));
	self->archive = archive_write_new();
	self->count++;
	if (!self->archive || archive_write_set_format_pax_restricted(self->archive) != ARCHIVE_OK ||
		archive_write_set_bytes_per_block(self->archive, 10240) != ARCHIVE_OK ||
		archive_write_open(self->archive, self, NULL, on_write, NULL) != ARCHIVE_OK)
		return broken(self, err);
	return D2V_OK;
}

static d2v_status end_archive(tar *self, d2v_error *err) {
	d2v_status status = failed(self, archive_write_close(self->archive) == ARCHIVE_OK) ? broken(self, err) : D2V_OK;
	archive_write_free(self->archive);
	self->archive = NULL;
	d2v_file_out *file = self->file;
	self->file = NULL;
	if (status == D2V_OK)
		return d2v_file_commit(file, err);
	d2v_file_abandon(file);
	return status;
}

static d2v_status next(d2v_export_sink *sink, d2v_error *err) {
	tar *self = (tar *)sink;
	if (self->archive && self->max_bytes && d2v_file_written(self->file) >= self->max_bytes)
		D2V_TRY(end_archive(self, err));
	return self->archive ? D2V_OK : begin_archive(self, err);
}

static d2v_status put_entry(
	tar *self, struct archive_entry *entry, const char *path, const void *bytes, size_t size, d2v_error *err) {
	archive_entry_set_pathname_utf8(entry, path);
	archive_entry_set_size(entry, (la_int64_t)size);
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_perm(entry, 0644);
	archive_entry_set_mtime(entry, 0, 0);
	if (failed(self, archive_write_header(self->archive, entry) == ARCHIVE_OK))
		return broken(self, err);
	if (size && failed(self, archive_write_data(self->archive, bytes, size) == (la_ssize_t)size))
		return broken(self, err);
	return D2V_OK;
}

static d2v_status put(d2v_export_sink *sink, const char *path, const void *bytes, size_t size, d2v_error *err) {
	tar *self = (tar *)sink;
	locale_t before = uselocale(self->locale);
	struct archive_entry *entry = archive_entry_new();
	d2v_status status = entry ? put_entry(self, entry, path, bytes, size, err)
							  : d2v_fail(err, D2V_NO_MEMORY, "%s: out of memory", path);
	archive_entry_free(entry);
	uselocale(before);
	return status;
}

static void abandon(d2v_export_sink *sink) {
	tar *self = (tar *)sink;
	if (self->archive) {
		self->over = true; // or it would write the end
		archive_write_free(self->archive);
	}
	d2v_file_abandon(self->file);
	if (self->locale)
		freelocale(self->locale);
	d2v_free(self->path);
	d2v_free(self->out);
	d2v_free(self);
}

static d2v_status commit(d2v_export_sink *sink, d2v_error *err) {
	tar *self = (tar *)sink;
	d2v_status status = self->archive || self->count ? D2V_OK : begin_archive(self, err);
	if (status == D2V_OK && self->archive)
		status = end_archive(self, err);
	abandon(sink);
	return status;
}

static const d2v_export_sink_kind kind = { next, put, commit, abandon };

d2v_status d2v_export_open_tar(d2v_export_sink **sink, const char *out, uint64_t max_bytes, d2v_error *err) {
	tar *made;
	*sink = NULL;
	D2V_TRY(d2v_alloc_zero(&made, 1, sizeof *made, err));
	made->sink.kind = &kind;
	made->max_bytes = max_bytes;
	made->locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
	d2v_status status = d2v_strdup(&made->out, out, err);
	if (status == D2V_OK)
		status = next(&made->sink, err); // what is wrong with the name is said before the work
	if (status != D2V_OK)
		abandon(&made->sink);
	else
		*sink = &made->sink;
	return status;
}
