#include "ingest/origin.h"

#include "base/file.h"
#include "ingest/origin_kinds.h"
#include "ingest/utf8.h"

#include <stdio.h>
#include <string.h>

d2v_status d2v_origin_open(d2v_origin **source, const char *where, const d2v_origin_options *options, d2v_error *err) {
	*source = NULL;
	if (!d2v_download_is_url(where) && d2v_file_is_directory(where))
		return d2v_origin_open_folder(source, where, err);
	return d2v_origin_open_archive(source, where, options, err);
}

d2v_status d2v_origin_next(d2v_origin *source, d2v_member *member, d2v_error *err) {
	*member = (d2v_member){ 0 };
	return source->kind->next(source, member, err);
}

d2v_status d2v_origin_read(d2v_origin *source, uint64_t max_bytes, unsigned char **bytes, size_t *capacity,
	size_t *size, d2v_rejection *rejection, d2v_error *err) {
	*size = 0;
	return source->kind->read(source, max_bytes, bytes, capacity, size, rejection, err);
}

d2v_status d2v_origin_read_on(
	d2v_origin *source, const void **bytes, size_t *size, d2v_rejection *rejection, d2v_error *err) {
	*size = 0;
	return source->kind->read_on(source, bytes, size, rejection, err);
}

uint64_t d2v_origin_stated_size(const d2v_origin *source) {
	return source->kind->stated_size(source);
}

void d2v_origin_progress(const d2v_origin *source, uint64_t *done, uint64_t *total) {
	source->kind->progress(source, done, total);
}

d2v_status d2v_origin_finish(d2v_origin *source, char checksum[D2V_CHECKSUM_TEXT], uint64_t *bytes, d2v_error *err) {
	return source->kind->finish(source, checksum, bytes, err);
}

void d2v_origin_close(d2v_origin *source) {
	if (source)
		source->kind->close(source);
}

// Copies name without "." components and empty ones. False: too long.
static bool tidy(const char *name, char *out, size_t size) {
	size_t at = 0;
	while (*name) {
		size_t length = strcspn(name, "/");
		if (length && !(length == 1 && name[0] == '.')) {
			if (at + 1 + length + 1 > size)
				return false;
			if (at)
				out[at++] = '/';
			memcpy(out + at, name, length);
			at += length;
		}
		name += length + (name[length] == '/');
	}
	out[at] = '\0';
	return true;
}

static d2v_reason judge_name(const char *name, d2v_rejection *rejection) {
	if (!name)
		return d2v_reject(rejection, D2V_REASON_UNSAFE_NAME, "its name cannot be read");
	if (name[0] == '/')
		return d2v_reject(rejection, D2V_REASON_UNSAFE_NAME, "an absolute name");
	if (!d2v_utf8_is_text(name, strlen(name)))
		return d2v_reject(rejection, D2V_REASON_UNSAFE_NAME, "its name is no UTF-8");
	if (d2v_utf8_has_control(name, strlen(name)))
		return d2v_reject(rejection, D2V_REASON_UNSAFE_NAME, "control characters in its name");
	for (const char *at = name; *at; at += strcspn(at, "/"), at += *at == '/')
		if (strcspn(at, "/") == 2 && at[0] == '.' && at[1] == '.')
			return d2v_reject(rejection, D2V_REASON_UNSAFE_NAME, "its name leads out of the folder with \"..\"");
	return D2V_REASON_NONE;
}

void d2v_origin_name_member(d2v_origin *source, const char *name, d2v_member *member) {
	member->index = source->count++;
	member->path = source->path;
	source->path[0] = '\0';
	if (judge_name(name, &member->rejection) == D2V_REASON_NONE && !tidy(name, source->path, sizeof source->path))
		d2v_reject(&member->rejection, D2V_REASON_UNSAFE_NAME, "a name of %zu bytes; %d are allowed", strlen(name),
			D2V_MEMBER_PATH_MAX);
	if (member->rejection.reason != D2V_REASON_NONE)
		d2v_rejection_escape(name ? name : "?", source->path, 256);
}
