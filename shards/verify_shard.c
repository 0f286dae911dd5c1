#include "shards/verify_shard.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/memory.h"
#include "shards/codec_audio.h"
#include "shards/codec_image.h"
#include "shards/codec_tokens.h"
#include "shards/shard_trailer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define STEP ((size_t)4 << 20) // read and hashed at a time
#define DECODED_MAX ((uint64_t)1 << 31)

typedef struct check {
	const char *path;
	const d2v_verify_sink *sink;
	bool decode;
	d2v_shard *shard;
	d2v_shard_view *view;
	d2v_index_row *rows;
	bool *rows_known; // per block of the index
	d2v_hasher *hasher;
	unsigned char *buffer;
	int16_t *samples;
	size_t samples_capacity;
	d2v_image_decoder *decoder; // NULL until there is a picture
	uint64_t next;              // record to be checked
	uint64_t digest;            // chain of the records' digests so far
	uint64_t found;             // damages
} check;

// Messages of the reader begin with the path, which whoever listens knows.
static const char *without_path(const check *self, const char *text) {
	size_t size = strlen(self->path);
	return strncmp(text, self->path, size) == 0 && strncmp(text + size, ": ", 2) == 0 ? text + size + 2 : text;
}

static void report(check *self, uint64_t record, const char *what) {
	self->found++;
	self->sink->found(self->sink->context, record, without_path(self, what));
}

static void report_table(void *context, uint64_t record, const char *what) {
	report(context, record, what);
}

// Damages are reported and forgiven, other failures (no memory) are not.
static d2v_status take_damage(check *self, uint64_t record, const d2v_error *damage, d2v_error *err) {
	if (!d2v_status_is_skippable(damage->status) && damage->status != D2V_UNSUPPORTED)
		return d2v_fail(err, damage->status, "%s", damage->text);
	const char *text = without_path(self, damage->text);
	char prefix[48];
	int size = snprintf(prefix, sizeof prefix, "record %llu: ", (unsigned long long)record);
	report(self, record, record != UINT64_MAX && strncmp(text, prefix, (size_t)size) == 0 ? text + size : text);
	return D2V_OK;
}

static void compare_row(check *self, uint64_t ordinal, const d2v_record *record) {
	const d2v_index_row *row = &self->rows[ordinal];
	size_t size;
	if (!self->rows_known[ordinal / D2V_INDEX_BLOCK])
		return;
	if (d2v_record_size(record, &size, NULL) != D2V_OK || size != row->size || row->units != record->units ||
		row->label != record->label || row->codec != record->codec || row->flags != record->flags)
		report(self, ordinal, "its row in the index says something else");
}

static d2v_status decode_sound(check *self, uint64_t ordinal, const d2v_record *record, d2v_error *err) {
	d2v_error damage = { 0 };
	if (record->codec != D2V_CODEC_PCM16 && record->codec != D2V_CODEC_FLAC)
		return D2V_OK;
	if (record->units > DECODED_MAX) {
		report(self, ordinal, "has more samples than can be true");
		return D2V_OK;
	}
	D2V_TRY(d2v_reserve(&self->samples, &self->samples_capacity, record->units, sizeof *self->samples, err));
	if (d2v_codec_audio_read(record, 0, record->units, self->samples, &damage) != D2V_OK)
		return take_damage(self, ordinal, &damage, err);
	return D2V_OK;
}

static d2v_status decode_picture(check *self, uint64_t ordinal, const d2v_record *record, d2v_error *err) {
	d2v_image_facts facts;
	d2v_error damage = { 0 };
	if (record->codec != D2V_CODEC_JPEG && record->codec != D2V_CODEC_PNG && record->codec != D2V_CODEC_RGB8)
		return D2V_OK;
	if (!self->decoder)
		D2V_TRY(d2v_image_decoder_new(&self->decoder, err));
	d2v_status status = d2v_image_begin_record(self->decoder, record, &facts, &damage);
	if (status == D2V_OK && record->units != (uint64_t)facts.width * facts.height)
		status = d2v_fail(&damage, D2V_CORRUPT, "its number of pixels is not that of its width and height");
	if (status == D2V_OK)
		status = d2v_image_rows(self->decoder, NULL, NULL, &damage);
	return status == D2V_OK ? D2V_OK : take_damage(self, ordinal, &damage, err);
}

static d2v_status decode_tokens(check *self, uint64_t ordinal, const d2v_record *record, d2v_error *err) {
	d2v_tokens tokens;
	d2v_error damage = { 0 };
	if (record->codec != D2V_CODEC_TOK16 && record->codec != D2V_CODEC_TOK32)
		return D2V_OK;
	if (d2v_codec_tokens_view(record, &tokens, &damage) != D2V_OK)
		return take_damage(self, ordinal, &damage, err);
	return D2V_OK;
}

// Each of them passes over what is not of its kind.
static d2v_status decode_payload(check *self, uint64_t ordinal, const d2v_record *record, d2v_error *err) {
	D2V_TRY(decode_sound(self, ordinal, record, err));
	D2V_TRY(decode_picture(self, ordinal, record, err));
	return decode_tokens(self, ordinal, record, err);
}

static d2v_status check_record(check *self, uint64_t ordinal, d2v_error *err) {
	d2v_record record;
	d2v_error damage = { 0 };
	if (d2v_shard_read(self->view, ordinal, true, &record, &damage) != D2V_OK)
		return take_damage(self, ordinal, &damage, err);
	self->digest = d2v_hash64_chain(self->digest, record.digest);
	compare_row(self, ordinal, &record);
	return self->decode ? decode_payload(self, ordinal, &record, err) : D2V_OK;
}

// All records that lie before byte `end`, as far as they come in order.
static d2v_status check_records(check *self, uint64_t end, uint64_t *checked, d2v_error *err) {
	const d2v_shard_trailer *trailer = d2v_shard_trailer_of(self->shard);
	*checked = 0;
	for (; self->next < trailer->facts.records; self->next++, ++*checked) {
		d2v_shard_extent at = trailer->extents[self->next];
		if (((uint64_t)at.page + at.pages) * trailer->page_size > end)
			break;
		D2V_TRY(check_record(self, self->next, err));
	}
	return D2V_OK;
}

static d2v_status check_index(check *self, d2v_error *err) {
	uint64_t records = d2v_shard_records(self->shard), blocks = d2v_shard_index_blocks(records);
	D2V_TRY(d2v_alloc_zero(&self->rows, records, sizeof *self->rows, err));
	D2V_TRY(d2v_alloc_zero(&self->rows_known, blocks, sizeof *self->rows_known, err));
	for (uint64_t block = 0; block < blocks; block++) {
		d2v_error damage = { 0 };
		uint64_t first = block * D2V_INDEX_BLOCK, left = records - first;
		self->rows_known[block] = d2v_shard_read_block(self->shard, block, self->rows + first,
									  left < D2V_INDEX_BLOCK ? left : D2V_INDEX_BLOCK, &damage) == D2V_OK;
		if (self->rows_known[block])
			continue;
		d2v_error_prefix(&damage, "block %llu of its index", (unsigned long long)block);
		D2V_TRY(take_damage(self, UINT64_MAX, &damage, err));
	}
	return D2V_OK;
}

static d2v_status check_meta(check *self, d2v_error *err) {
	d2v_error damage = { 0 };
	json_t *meta;
	d2v_status status = d2v_shard_meta(self->shard, &meta, &damage);
	json_decref(meta);
	if (status == D2V_INVALID)
		damage.status = D2V_CORRUPT; // no JSON
	return status == D2V_OK ? D2V_OK : take_damage(self, UINT64_MAX, &damage, err);
}

static d2v_status check_trailer(check *self, d2v_error *err) {
	d2v_shard_trailer again;
	d2v_error damage = { 0 };
	d2v_shard_facts facts = d2v_shard_facts_read(self->shard);
	D2V_TRY(d2v_shard_trailer_parse(d2v_shard_bytes(self->shard), facts.bytes, &again, &damage, err));
	if (damage.status != D2V_OK)
		D2V_TRY(take_damage(self, UINT64_MAX, &damage, err));
	if (d2v_shard_trailer_check_structure(d2v_shard_bytes(self->shard), &again, &damage) != D2V_OK)
		D2V_TRY(take_damage(self, UINT64_MAX, &damage, err));
	return D2V_OK;
}

// Reads the file once from begin to end; records are checked when they have come by, out of the page cache.
static d2v_status check_bytes(check *self, int fd, d2v_error *err) {
	d2v_shard_facts facts = d2v_shard_facts_read(self->shard);
	uint64_t hashed = d2v_shard_trailer_hashed(facts.bytes), at = 0, checked;
	while (at < hashed) {
		size_t want = hashed - at < STEP ? (size_t)(hashed - at) : STEP;
		ssize_t got = pread(fd, self->buffer, want, (off_t)at);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			char text[128];
			snprintf(text, sizeof text, "cannot be read at byte %llu: %s; the rest of it was not checked",
				(unsigned long long)at, got ? strerror(errno) : "it ends there");
			report(self, UINT64_MAX, text);
			return D2V_OK;
		}
		d2v_hasher_add(self->hasher, self->buffer, (size_t)got);
		at += (uint64_t)got;
		D2V_TRY(check_records(self, at, &checked, err));
		self->sink->progress(self->sink->context, (uint64_t)got, checked);
	}
	D2V_TRY(check_records(self, UINT64_MAX, &checked, err));
	self->sink->progress(self->sink->context, facts.bytes - hashed, checked);
	// Bytes that nobody reads, or a writer's mistake: all else has been named by now.
	if (!self->found && d2v_hasher_value(self->hasher) != facts.file_digest)
		report(self, UINT64_MAX, "its file digest differs, in bytes that belong to no record");
	if (!self->found && self->digest != facts.digest)
		report(self, UINT64_MAX, "the digest over its records differs");
	return D2V_OK;
}

static void compare_facts(check *self, const d2v_shard_facts *expected) {
	d2v_shard_facts found = d2v_shard_facts_read(self->shard);
	if (expected &&
		(found.records != expected->records || found.bytes != expected->bytes || found.units != expected->units ||
			found.digest != expected->digest || found.file_digest != expected->file_digest))
		report(self, UINT64_MAX, "is another shard than the manifest says");
}

static d2v_status check_all(check *self, const d2v_shard_facts *expected, int fd, d2v_error *err) {
	D2V_TRY(d2v_hasher_new(&self->hasher, err));
	uint64_t bytes = d2v_shard_facts_read(self->shard).bytes;
	D2V_TRY(d2v_alloc(&self->buffer, bytes < STEP ? (size_t)bytes : STEP, 1, err));
	compare_facts(self, expected);
	D2V_TRY(check_trailer(self, err));
	D2V_TRY(check_index(self, err));
	D2V_TRY(check_meta(self, err));
	D2V_TRY(d2v_shard_view_new(&self->view, self->shard, err));
	D2V_TRY(d2v_shard_check_tables(self->view, report_table, self, err));
	return check_bytes(self, fd, err);
}

d2v_status d2v_verify_shard(
	const char *path, const d2v_shard_facts *expected, bool decode, const d2v_verify_sink *sink, d2v_error *err) {
	check self = { .path = path, .sink = sink, .decode = decode };
	d2v_error damage = { 0 };
	d2v_status status = d2v_shard_open_damaged(&self.shard, path, &damage);
	int fd = -1;
	if (status == D2V_NOT_FOUND) {
		report(&self, UINT64_MAX, "is not there");
		return D2V_OK;
	}
	if (status != D2V_OK)
		return take_damage(&self, UINT64_MAX, &damage, err);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		status = d2v_fail_errno(err, "%s: cannot be opened", path);
	else
		status = check_all(&self, expected, fd, err);
	if (fd >= 0)
		close(fd);
	d2v_shard_view_free(self.view);
	d2v_shard_close(self.shard);
	d2v_hasher_free(self.hasher);
	d2v_free(self.buffer);
	d2v_free(self.samples);
	d2v_image_decoder_free(self.decoder);
	d2v_free(self.rows);
	d2v_free(self.rows_known);
	return status;
}
