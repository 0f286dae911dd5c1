#include "ingest/text_archive.h"

#include "base/memory.h"
#include "ingest/origin.h"

struct d2v_text_archive {
	d2v_text_cutter *cutter;
	unsigned char *piece;
	size_t piece_capacity;
	d2v_origin *origin; // while one is read
	d2v_member member;
};

d2v_status d2v_text_archive_new(d2v_text_archive **archive, d2v_error *err) {
	D2V_TRY(d2v_alloc_zero(archive, 1, sizeof **archive, err));
	d2v_status status = d2v_text_cutter_new(&(*archive)->cutter, err);
	if (status != D2V_OK) {
		d2v_free(*archive);
		*archive = NULL;
	}
	return status;
}

void d2v_text_archive_free(d2v_text_archive *archive) {
	if (!archive)
		return;
	d2v_text_cutter_free(archive->cutter);
	d2v_free(archive->piece);
	d2v_free(archive);
}

static d2v_status read_member(void *context, const void **bytes, size_t *size, d2v_error *err) {
	d2v_text_archive *archive = context;
	d2v_rejection rejection = { 0 };
	D2V_TRY(d2v_origin_read_on(archive->origin, bytes, size, &rejection, err));
	if (rejection.reason != D2V_REASON_NONE)
		return d2v_fail(err, D2V_CORRUPT, "%s: %s", archive->member.path, rejection.text);
	return D2V_OK;
}

static d2v_status take_member(d2v_text_archive *archive, d2v_text_take *take, void *context, d2v_error *err) {
	d2v_bytes bytes = { .read = read_member, .context = archive, .name = archive->member.path };
	d2v_text_piece piece;
	d2v_rejection unused; // of JSON lines
	D2V_TRY(d2v_text_cutter_start(archive->cutter, &bytes, NULL, err));
	for (;;) {
		D2V_TRY(d2v_text_cutter_next(archive->cutter, &archive->piece, &archive->piece_capacity, &piece, &unused, err));
		D2V_TRY(take(context, archive->piece, &piece, err));
	}
}

static d2v_status take_members(d2v_text_archive *archive, d2v_text_take *take, void *context, d2v_error *err) {
	char checksum[D2V_CHECKSUM_TEXT];
	uint64_t bytes;
	d2v_status status;
	while ((status = d2v_origin_next(archive->origin, &archive->member, err)) == D2V_OK) {
		d2v_reason reason = archive->member.rejection.reason;
		if (reason == D2V_REASON_UNREADABLE)
			return d2v_fail(err, D2V_CORRUPT, "%s: %s", archive->member.path, archive->member.rejection.text);
		if (!archive->member.is_file || reason == D2V_REASON_NOT_A_FILE)
			continue;
		status = take_member(archive, take, context, err);
		if (status != D2V_END)
			return status;
	}
	return status == D2V_END ? d2v_origin_finish(archive->origin, checksum, &bytes, err) : status;
}

d2v_status d2v_text_archive_read(d2v_text_archive *archive, const char *name, const void *bytes, size_t size,
	d2v_text_take *take, void *context, d2v_rejection *rejection, d2v_error *err) {
	d2v_error why = { 0 };
	d2v_status status = d2v_origin_open_memory(&archive->origin, name, bytes, size, &why);
	if (status == D2V_OK)
		status = take_members(archive, take, context, &why);
	d2v_origin_close(archive->origin);
	archive->origin = NULL;
	if (status == D2V_CORRUPT)
		d2v_reject(rejection, D2V_REASON_UNDECODABLE, "%s", why.text);
	else if (status == D2V_UNSAFE)
		d2v_reject(rejection, D2V_REASON_TOO_LARGE, "%s", why.text);
	else if (status != D2V_OK && err)
		*err = why;
	return status == D2V_CORRUPT || status == D2V_UNSAFE ? D2V_OK : status;
}
