#include "tools/embed_files.h"

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "ingest/ingest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BYTES_MAX ((size_t)256 << 20)
#define LIST_BYTES_MAX ((size_t)64 << 20)
#define NUMBER_DIGITS 8

const char *embed_files_name(const char *record_name) {
	return strlen(record_name) > NUMBER_DIGITS ? record_name + NUMBER_DIGITS + 1 : record_name;
}

static d2v_status copy_file(const char *folder, const char *path, int number, d2v_error *err) {
	char name[NUMBER_DIGITS + 1 + 256], *to = NULL;
	void *bytes = NULL;
	size_t size;
	snprintf(name, sizeof name, "%0*d-%.240s", NUMBER_DIGITS, number, d2v_path_name(path));
	D2V_TRY(d2v_file_read(path, FILE_BYTES_MAX, &bytes, &size, err));
	d2v_status status = d2v_path_join(&to, folder, name, err);
	if (status == D2V_OK)
		status = d2v_file_replace(to, bytes, size, err);
	d2v_free(to);
	d2v_free(bytes);
	return status;
}

static d2v_status choose_layout(const char *const *paths, int count, const d2v_layout **layout, d2v_error *err) {
	*layout = NULL;
	for (int i = 0; i < count; i++) {
		const d2v_layout *one = d2v_layout_is_audio(paths[i])   ? &d2v_layout_audio
								: d2v_layout_is_image(paths[i]) ? &d2v_layout_images
																: NULL;
		if (!one)
			return d2v_fail(err, D2V_INVALID,
				"%s: neither a data set nor a file of sound or a picture (text: make a data set with d2v-ingest text)",
				paths[i]);
		if (*layout && *layout != one)
			return d2v_fail(err, D2V_INVALID, "%s: sound and pictures cannot be mixed", paths[i]);
		*layout = one;
	}
	return D2V_OK;
}

static d2v_status ingest(const embed_files *files, const char *from, const d2v_layout *layout, d2v_error *err) {
	d2v_ingest_options options = D2V_INGEST_DEFAULTS;
	d2v_ingest_source source = { .where = from };
	d2v_ingest_result result;
	options.out = files->dataset;
	options.layout = layout;
	options.sources = &source;
	options.source_count = 1;
	options.store = layout == &d2v_layout_images ? D2V_CODEC_JPEG : D2V_CODEC_PCM16;
	options.places.texts = false;
	options.max_rejected = 100; // fail_rejected says which, in the user's own words
	options.max_rejected_is_percent = true;
	options.quiet = true;
	return d2v_ingest_run(&options, &result, err);
}

// The first line of a list of what was rejected, "NUMBER-NAME<tab>CODE<tab>WHY"; nothing when there is none.
static d2v_status fail_listed(
	const char *dataset, const char *list, const char *const *paths, int count, d2v_error *err) {
	char *path = NULL, *text = NULL, *end;
	size_t size;
	d2v_status status = d2v_path_join(&path, dataset, list, err);
	if (status == D2V_OK && d2v_file_exists(path))
		status = d2v_file_read(path, LIST_BYTES_MAX, (void **)&text, &size, err);
	if (status == D2V_OK && text) {
		long number = strtol(text, &end, 10);
		const char *why = strchr(text, '\t') ? strchr(strchr(text, '\t') + 1, '\t') : NULL;
		if (end != text && number >= 0 && number < count && why)
			status = d2v_fail(err, D2V_CORRUPT, "%s: %.*s", paths[number], (int)strcspn(why + 1, "\n"), why + 1);
	}
	d2v_free(path);
	d2v_free(text);
	return status;
}

// Files that were left out have places in a list, and none in the data set: then the whole is an error. One whose name
// no split can have is in the list above the splits.
static d2v_status fail_rejected(const char *dataset, const char *const *paths, int count, d2v_error *err) {
	D2V_TRY(fail_listed(dataset, "train/rejected.tsv", paths, count, err));
	return fail_listed(dataset, "rejected.tsv", paths, count, err);
}

static d2v_status make_folder(embed_files *files, d2v_error *err) {
	const char *temporary = getenv("TMPDIR");
	D2V_TRY(d2v_asprintf(&files->folder, err, "%s/d2v-embed.XXXXXX", temporary && *temporary ? temporary : "/tmp"));
	if (!mkdtemp(files->folder)) {
		d2v_status status = d2v_fail_errno(err, "%s", files->folder);
		d2v_free(files->folder);
		files->folder = NULL; // is not there
		return status;
	}
	return d2v_path_join(&files->dataset, files->folder, "dataset", err);
}

d2v_status embed_files_open(embed_files *files, const char *const *paths, int count, d2v_error *err) {
	const d2v_layout *layout;
	char *from = NULL;
	*files = (embed_files){ NULL, NULL };
	D2V_TRY(choose_layout(paths, count, &layout, err));
	d2v_status status = make_folder(files, err);
	if (status == D2V_OK)
		status = d2v_path_join(&from, files->folder, "files", err);
	if (status == D2V_OK)
		status = d2v_file_make_directories(from, err);
	for (int i = 0; i < count && status == D2V_OK; i++)
		status = copy_file(from, paths[i], i, err);
	if (status == D2V_OK) {
		d2v_error own = { 0 };
		d2v_status ingested = ingest(files, from, layout, &own);
		status = fail_rejected(files->dataset, paths, count, err);
		if (status == D2V_OK && ingested != D2V_OK)
			status = d2v_fail(err, ingested, "%s", own.text);
	}
	d2v_free(from);
	if (status != D2V_OK)
		embed_files_close(files);
	return status;
}

void embed_files_close(embed_files *files) {
	d2v_error err;
	if (files->folder && d2v_file_remove_tree(files->folder, &err) != D2V_OK)
		d2v_warn("%s", err.text);
	d2v_free(files->folder);
	d2v_free(files->dataset);
	*files = (embed_files){ NULL, NULL };
}
