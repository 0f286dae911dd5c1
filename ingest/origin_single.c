// A source that is one file by itself, here or at an address: its only member is called as the file is.
#include "base/file.h"
#include "base/memory.h"
#include "ingest/address.h"
#include "ingest/origin_kinds.h"
#include "ingest/stream.h"

#include <stdio.h>
#include <string.h>

typedef struct single {
	d2v_origin source;
	d2v_stream *stream;
	const char *sum; // that it must have, or NULL; borrowed
	char name[D2V_MEMBER_PATH_MAX + 1];
} single;

static d2v_status single_next(d2v_origin *source, d2v_member *member, d2v_error *err) {
	(void)err;
	if (source->count)
		return D2V_END;
	d2v_origin_name_member(source, ((single *)source)->name, member);
	member->is_file = true;
	return D2V_OK;
}

static d2v_status single_read_on(
	d2v_origin *source, const void **bytes, size_t *size, d2v_rejection *rejection, d2v_error *err) {
	(void)rejection;
	return d2v_stream_read(((single *)source)->stream, bytes, size, err);
}

static d2v_status single_read(d2v_origin *source, uint64_t max_bytes, unsigned char **bytes, size_t *capacity,
	size_t *size, d2v_rejection *rejection, d2v_error *err) {
	single *here = (single *)source;
	const void *block;
	size_t got;
	for (;;) {
		D2V_TRY(d2v_stream_read(here->stream, &block, &got, err));
		if (!got)
			return D2V_OK;
		if (got > max_bytes - *size) {
			d2v_reject(
				rejection, D2V_REASON_TOO_LARGE, "more bytes than --max-member %llu", (unsigned long long)max_bytes);
			return D2V_OK;
		}
		D2V_TRY(d2v_reserve(bytes, capacity, *size + got, 1, err));
		memcpy(*bytes + *size, block, got);
		*size += got;
	}
}

static uint64_t single_stated_size(const d2v_origin *source) {
	return d2v_stream_total(((const single *)source)->stream);
}

static void single_progress(const d2v_origin *source, uint64_t *done, uint64_t *total) {
	const single *here = (const single *)source;
	*done = d2v_stream_at(here->stream);
	*total = d2v_stream_total(here->stream);
}

static d2v_status single_finish(d2v_origin *source, char checksum[D2V_CHECKSUM_TEXT], uint64_t *bytes, d2v_error *err) {
	single *here = (single *)source;
	D2V_TRY(d2v_stream_finish(here->stream, checksum, bytes, err));
	return d2v_stream_check(here->stream, checksum, here->sum, err);
}

static void single_close(d2v_origin *source) {
	d2v_stream_close(((single *)source)->stream);
	d2v_free(source);
}

static const d2v_origin_kind kind = {
	.next = single_next,
	.read = single_read,
	.read_on = single_read_on,
	.stated_size = single_stated_size,
	.progress = single_progress,
	.finish = single_finish,
	.close = single_close,
};

d2v_status d2v_origin_open_single(
	d2v_origin **source, const char *where, const d2v_origin_options *options, d2v_error *err) {
	single *opened;
	d2v_checksum_kind sum = options->md5 ? D2V_MD5 : D2V_SHA256;
	*source = NULL;
	D2V_TRY(d2v_alloc_zero(&opened, 1, sizeof *opened, err));
	opened->source.kind = &kind;
	opened->sum = options->md5 ? options->md5 : options->sha256;
	d2v_origin_single_name(where, opened->name, sizeof opened->name);
	d2v_status status = d2v_address_is_url(where)
							? d2v_stream_open_download(&opened->stream, where, &options->download, sum, err)
							: d2v_stream_open_file(&opened->stream, where, sum, err);
	if (status != D2V_OK)
		single_close(&opened->source);
	else
		*source = &opened->source;
	return status;
}

const char *d2v_origin_single_name(const char *where, char *name, size_t size) {
	snprintf(name, size, "%s", d2v_path_name(where));
	if (d2v_address_is_url(where))
		name[strcspn(name, "?#")] = '\0';
	return name;
}
