// libarchive is named here for its archives, in unpacker.c for its filters.
#include "base/hash.h"
#include "base/memory.h"
#include "ingest/address.h"
#include "ingest/origin_kinds.h"
#include "ingest/stream.h"
#include "ingest/unpacker.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

#define EXPANSION_FREE ((uint64_t)4 << 30) // before this many bytes nobody asks how few they came from
#define EXPANSION_MAX 200                  // times the size of the archive; speech does not compress like that
#define GROW_BYTES ((size_t)256 << 10)

typedef struct packed {
	d2v_origin source;
	d2v_stream *stream;
	d2v_unpacker *unpacker; // NULL: libarchive gets the stream as it is
	uint64_t delivered;     // bytes given to libarchive
	struct archive *archive;
	struct archive_entry *entry; // current
	d2v_error stream_error;      // what the stream said when libarchive asked it
	const char *sum;             // that it must have, or NULL; borrowed
	uint64_t unpacked;           // bytes of members that were read
	unsigned char *block;        // of the member being read; NULL until one is read so
	uint64_t block_total;        // bytes of the current member handed out so far
	locale_t locale;             // names in zip and pax archives are UTF-8, whatever the user's locale
	bool started;
} packed;

// A bomb is noticed here, while libarchive passes over a member that nobody wanted.
static d2v_status check_expansion(packed *here, d2v_error *err) {
	uint64_t out = here->unpacked, in = d2v_stream_at(here->stream);
	la_int64_t filtered = here->started ? archive_filter_bytes(here->archive, 0) : 0;
	if (filtered > 0 && (uint64_t)filtered > out)
		out = (uint64_t)filtered;
	if (here->delivered > out)
		out = here->delivered;
	if (out > EXPANSION_FREE && out / EXPANSION_MAX > in)
		return d2v_fail(err, D2V_UNSAFE, "%s: expands %llu bytes to %llu so far, more than %d times: not believed",
			d2v_stream_name(here->stream), (unsigned long long)in, (unsigned long long)out, EXPANSION_MAX);
	return D2V_OK;
}

static d2v_status read_some(packed *here, const void **bytes, size_t *size, d2v_error *err) {
	D2V_TRY(check_expansion(here, err));
	D2V_TRY(here->unpacker ? d2v_unpacker_read(here->unpacker, bytes, size, err)
						   : d2v_stream_read(here->stream, bytes, size, err));
	here->delivered += *size;
	return D2V_OK;
}

static ssize_t on_read(struct archive *archive, void *context, const void **bytes) {
	packed *here = context;
	size_t size;
	if (read_some(here, bytes, &size, &here->stream_error) != D2V_OK) {
		archive_set_error(archive, EIO, "reading failed");
		return ARCHIVE_FATAL;
	}
	return (ssize_t)size;
}

static la_int64_t on_seek(struct archive *archive, void *context, la_int64_t offset, int whence) {
	packed *here = context;
	la_int64_t base = whence == SEEK_SET   ? 0
					  : whence == SEEK_CUR ? (la_int64_t)d2v_stream_at(here->stream)
										   : (la_int64_t)d2v_stream_total(here->stream);
	la_int64_t to;
	// A place past the end is the archive's lie, not the stream's trouble.
	if (__builtin_add_overflow(base, offset, &to) || to < 0 || (uint64_t)to > d2v_stream_total(here->stream)) {
		archive_set_error(archive, EIO, "it points to a place past its end");
		return ARCHIVE_FATAL;
	}
	if (d2v_stream_seek(here->stream, (uint64_t)to, &here->stream_error) != D2V_OK)
		return ARCHIVE_FATAL;
	return to;
}

static d2v_status broken(packed *here, d2v_error *err) {
	if (here->stream_error.status != D2V_OK) {
		if (err)
			*err = here->stream_error;
		return here->stream_error.status;
	}
	const char *said = archive_error_string(here->archive), *name = d2v_stream_name(here->stream);
	if (!here->started)
		return d2v_fail(err, D2V_CORRUPT,
			"%s: no archive that d2v reads (tar, tar.gz, tar.bz2, tar.xz, tar.zst, zip), or damaged at its start: %s",
			name, said ? said : "unknown");
	return d2v_fail(err, D2V_CORRUPT, "%s: the archive is damaged or cut off after %llu members: %s; fetch it again",
		name, (unsigned long long)here->source.count, said ? said : "unknown");
}

static d2v_status packed_next(d2v_origin *source, d2v_member *member, d2v_error *err) {
	packed *here = (packed *)source;
	locale_t before = uselocale(here->locale);
	int result = archive_read_next_header(here->archive, &here->entry);
	const char *name = result == ARCHIVE_OK || result == ARCHIVE_WARN ? archive_entry_pathname(here->entry) : NULL;
	uselocale(before);
	if (result == ARCHIVE_EOF)
		return D2V_END;
	if (result == ARCHIVE_FATAL)
		return broken(here, err);
	here->started = true;
	here->block_total = 0;
	d2v_origin_name_member(source, name, member);
	if (result != ARCHIVE_OK && result != ARCHIVE_WARN) {
		member->is_file = true;
		d2v_reject(&member->rejection, D2V_REASON_UNREADABLE, "its header is damaged");
		return D2V_OK;
	}
	mode_t type = archive_entry_filetype(here->entry);
	member->is_file = type != AE_IFDIR;
	if (member->rejection.reason != D2V_REASON_NONE)
		return D2V_OK;
	if (member->is_file && !member->path[0]) {
		d2v_reject(&member->rejection, D2V_REASON_UNSAFE_NAME, "a file without a name");
		snprintf(source->path, sizeof source->path, "?");
		return D2V_OK;
	}
	if (archive_entry_hardlink(here->entry) || archive_entry_symlink(here->entry))
		d2v_reject(&member->rejection, D2V_REASON_NOT_A_FILE, "a link");
	else if (member->is_file && type != AE_IFREG)
		d2v_reject(&member->rejection, D2V_REASON_NOT_A_FILE, "a device, pipe or socket");
	else if (member->is_file && archive_entry_is_encrypted(here->entry))
		d2v_reject(&member->rejection, D2V_REASON_UNREADABLE, "encrypted");
	return D2V_OK;
}

static uint64_t packed_stated_size(const d2v_origin *source) {
	const packed *here = (const packed *)source;
	la_int64_t size = archive_entry_size_is_set(here->entry) ? archive_entry_size(here->entry) : 0;
	return size > 0 ? (uint64_t)size : 0;
}

static d2v_status packed_read(d2v_origin *source, uint64_t max_bytes, unsigned char **bytes, size_t *capacity,
	size_t *size, d2v_rejection *rejection, d2v_error *err) {
	packed *here = (packed *)source;
	uint64_t stated = packed_stated_size(source);
	bool is_stated = archive_entry_size_is_set(here->entry);
	if (stated > max_bytes) {
		d2v_reject(rejection, D2V_REASON_TOO_LARGE, "%llu bytes; --max-member is %llu", (unsigned long long)stated,
			(unsigned long long)max_bytes);
		return D2V_OK;
	}
	size_t room = is_stated ? (size_t)stated + 1 : GROW_BYTES;
	for (;;) {
		D2V_TRY(d2v_reserve(bytes, capacity, room, 1, err));
		la_ssize_t got = archive_read_data(here->archive, *bytes + *size, room - *size);
		if (got == ARCHIVE_FATAL)
			return broken(here, err);
		if (got < 0) {
			d2v_reject(rejection, D2V_REASON_UNREADABLE, "damaged inside the archive");
			return D2V_OK;
		}
		if (got == 0)
			break;
		*size += (size_t)got;
		here->unpacked += (uint64_t)got;
		if (is_stated && *size > stated) {
			d2v_reject(rejection, D2V_REASON_WRONG_SIZE, "more bytes than the %llu the archive states",
				(unsigned long long)stated);
			return D2V_OK;
		}
		if (*size > max_bytes) {
			d2v_reject(
				rejection, D2V_REASON_TOO_LARGE, "more bytes than --max-member %llu", (unsigned long long)max_bytes);
			return D2V_OK;
		}
		if (*size == room)
			room = room * 2 <= max_bytes + 1 ? room * 2 : (size_t)max_bytes + 1;
	}
	if (is_stated && *size != stated)
		d2v_reject(rejection, D2V_REASON_WRONG_SIZE, "%zu bytes where the archive states %llu", *size,
			(unsigned long long)stated);
	return D2V_OK;
}

static d2v_status packed_read_on(
	d2v_origin *source, const void **bytes, size_t *size, d2v_rejection *rejection, d2v_error *err) {
	packed *here = (packed *)source;
	if (!here->block)
		D2V_TRY(d2v_alloc(&here->block, GROW_BYTES, 1, err));
	la_ssize_t got = archive_read_data(here->archive, here->block, GROW_BYTES);
	if (got == ARCHIVE_FATAL)
		return broken(here, err);
	if (got < 0) {
		d2v_reject(rejection, D2V_REASON_UNREADABLE, "damaged inside the archive");
		return D2V_OK;
	}
	*bytes = here->block;
	*size = (size_t)got;
	here->block_total += (uint64_t)got;
	here->unpacked += (uint64_t)got;
	if (!got && archive_entry_size_is_set(here->entry) && here->block_total != packed_stated_size(source))
		d2v_reject(rejection, D2V_REASON_WRONG_SIZE, "%llu bytes where the archive states %llu",
			(unsigned long long)here->block_total, (unsigned long long)packed_stated_size(source));
	return D2V_OK;
}

static void packed_progress(const d2v_origin *source, uint64_t *done, uint64_t *total) {
	const packed *here = (const packed *)source;
	*done = d2v_stream_at(here->stream);
	*total = d2v_stream_total(here->stream);
}

static d2v_status packed_finish(d2v_origin *source, char checksum[D2V_CHECKSUM_TEXT], uint64_t *bytes, d2v_error *err) {
	packed *here = (packed *)source;
	const void *bytes_left;
	size_t left = here->unpacker ? 1 : 0;
	while (left) // checksums come last
		D2V_TRY(read_some(here, &bytes_left, &left, err));
	D2V_TRY(d2v_stream_finish(here->stream, checksum, bytes, err));
	return d2v_stream_check(here->stream, checksum, here->sum, err);
}

static void packed_close(d2v_origin *source) {
	packed *here = (packed *)source;
	if (here->archive)
		archive_read_free(here->archive);
	if (here->locale)
		freelocale(here->locale);
	d2v_unpacker_free(here->unpacker);
	d2v_stream_close(here->stream);
	d2v_free(here->block);
	d2v_free(here);
}

static const d2v_origin_kind kind = {
	.next = packed_next,
	.read = packed_read,
	.read_on = packed_read_on,
	.stated_size = packed_stated_size,
	.progress = packed_progress,
	.finish = packed_finish,
	.close = packed_close,
};

static d2v_status read_stream(void *context, const void **bytes, size_t *size, d2v_error *err) {
	return d2v_stream_read(context, bytes, size, err);
}

// What is not packed is read from the stream itself: zip wants to go back and forth in it.
static d2v_status look_at_first_bytes(packed *here, d2v_error *err) {
	d2v_bytes bytes = { .read = read_stream, .context = here->stream, .name = d2v_stream_name(here->stream) };
	D2V_TRY(d2v_unpacker_new(&here->unpacker, &bytes, err));
	if (d2v_unpacker_is_packed(here->unpacker) || !d2v_stream_can_seek(here->stream))
		return D2V_OK;
	d2v_unpacker_free(here->unpacker);
	here->unpacker = NULL;
	return d2v_stream_seek(here->stream, 0, err);
}

static d2v_status start(packed *here, d2v_error *err) {
	here->locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
	D2V_TRY(look_at_first_bytes(here, err));
	here->archive = archive_read_new();
	if (!here->archive)
		return d2v_fail(err, D2V_NO_MEMORY, "%s: out of memory", d2v_stream_name(here->stream));
	archive_read_support_format_tar(here->archive);
	archive_read_support_format_zip(here->archive);
	archive_read_set_read_callback(here->archive, on_read);
	if (!here->unpacker)
		archive_read_set_seek_callback(here->archive, on_seek);
	archive_read_set_callback_data(here->archive, here);
	return archive_read_open1(here->archive) == ARCHIVE_OK ? D2V_OK : broken(here, err);
}

d2v_status d2v_origin_open_stream(d2v_origin **source, d2v_stream *stream, const char *sum, d2v_error *err) {
	packed *opened;
	d2v_status status = d2v_alloc_zero(&opened, 1, sizeof *opened, err);
	if (status != D2V_OK) {
		d2v_stream_close(stream);
		return status;
	}
	opened->source.kind = &kind;
	opened->stream = stream;
	opened->sum = sum;
	status = start(opened, err);
	if (status != D2V_OK)
		packed_close(&opened->source);
	else
		*source = &opened->source;
	return status;
}

d2v_status d2v_origin_open_archive(
	d2v_origin **source, const char *where, const d2v_origin_options *options, d2v_error *err) {
	d2v_checksum_kind sum = options->md5 ? D2V_MD5 : D2V_SHA256;
	d2v_stream *stream;
	*source = NULL;
	D2V_TRY(d2v_address_is_url(where) ? d2v_stream_open_download(&stream, where, &options->download, sum, err)
									   : d2v_stream_open_file(&stream, where, sum, err));
	return d2v_origin_open_stream(source, stream, options->md5 ? options->md5 : options->sha256, err);
}

d2v_status d2v_origin_open_memory(
	d2v_origin **source, const char *name, const void *bytes, size_t size, d2v_error *err) {
	d2v_stream *stream;
	*source = NULL;
	D2V_TRY(d2v_stream_open_memory(&stream, name, bytes, size, err));
	return d2v_origin_open_stream(source, stream, NULL, err);
}
