#include "tests/ref/sample_text.h"

#include "base/file.h"
#include "base/memory.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool sample_path(const char *name, char *path, size_t room) {
	const char *shared = getenv("D2V_SHARED");
	snprintf(path, room, "%s/data/%s", shared ? shared : "", name);
	return shared && *shared && d2v_file_exists(path);
}

static d2v_status add_member(struct archive *archive, struct archive_entry *entry, sample_text *text, d2v_error *err) {
	size_t size = (size_t)archive_entry_size(entry);
	D2V_TRY(d2v_reserve(&text->bytes, &text->capacity, text->size + size, 1, err));
	D2V_TRY(d2v_reserve(&text->ends, &text->ends_capacity, text->documents + 1, sizeof *text->ends, err));
	if (archive_read_data(archive, text->bytes + text->size, size) != (la_ssize_t)size)
		return d2v_fail(err, D2V_CORRUPT, "%s: cut off", archive_entry_pathname(entry));
	text->ends[text->documents++] = text->size += size;
	return D2V_OK;
}

static d2v_status add_members(struct archive *archive, sample_text *text, d2v_error *err);

static struct archive *new_archive(void) {
	struct archive *archive = archive_read_new();
	archive_read_support_filter_all(archive);
	archive_read_support_format_all(archive);
	return archive;
}

static d2v_status add_inner(struct archive *outer, struct archive_entry *entry, sample_text *text, d2v_error *err) {
	sample_text inner = { 0 };
	struct archive *archive = new_archive();
	d2v_status status = add_member(outer, entry, &inner, err);
	if (status == D2V_OK && archive_read_open_memory(archive, inner.bytes, inner.size) != ARCHIVE_OK)
		status = d2v_fail(err, D2V_CORRUPT, "%s", archive_error_string(archive));
	if (status == D2V_OK)
		status = add_members(archive, text, err);
	archive_read_free(archive);
	sample_text_release(&inner);
	return status;
}

static d2v_status add_members(struct archive *archive, sample_text *text, d2v_error *err) {
	struct archive_entry *entry;
	while (archive_read_next_header(archive, &entry) == ARCHIVE_OK) {
		const char *name = archive_entry_pathname(entry), *end = name ? strrchr(name, '.') : NULL;
		if (end && strcmp(end, ".xz") == 0)
			D2V_TRY(add_inner(archive, entry, text, err));
		else if (end && strcmp(end, ".txt") == 0)
			D2V_TRY(add_member(archive, entry, text, err));
	}
	return D2V_OK;
}

d2v_status sample_text_read(sample_text *text, const char *archive_path, d2v_error *err) {
	struct archive *archive = new_archive();
	d2v_status status = archive_read_open_filename(archive, archive_path, (size_t)1 << 20) == ARCHIVE_OK
							? add_members(archive, text, err)
							: d2v_fail(err, D2V_IO, "%s: %s", archive_path, archive_error_string(archive));
	archive_read_free(archive);
	return status;
}

void sample_text_release(sample_text *text) {
	d2v_free(text->bytes);
	d2v_free(text->ends);
	*text = (sample_text){ 0 };
}
