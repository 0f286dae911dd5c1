#include "tools/embed_files.h"

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "ingest/ingest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BYTES_MAX ((size_t)256 << 20)
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
	options.max_rejected = 0;
	options.max_rejected_is_percent = false;
	options.quiet = true;
	return d2v_ingest_run(&options, &result, err);
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
	if (status == D2V_OK)
		status = ingest(files, from, layout, err);
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
