// libarchive is named here for its filters, in origin_archive.c for its archives.
#include "ingest/unpacker.h"

#include "base/memory.h"
#include "ingest/gunzip.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <string.h>

struct d2v_unpacker {
	d2v_bytes packed;
	const void *first; // the block that was read to see what it is, until it is handed on
	size_t first_size;
	d2v_gunzip *gunzip;      // of these two
	struct archive *archive; // at most one is there
	d2v_error error;         // what `packed` said when libarchive asked it
	char name[256];          // outlives the caller's
};

static bool begins(const d2v_unpacker *unpacker, const char *magic, size_t size) {
	return unpacker->first_size >= size && memcmp(unpacker->first, magic, size) == 0;
}

static bool begins_bzip2(const d2v_unpacker *unpacker) {
	const char *first = unpacker->first;
	return begins(unpacker, "BZh", 3) && unpacker->first_size >= 10 && memcmp(first + 4, "1AY&SY", 6) == 0;
}

static d2v_status read_packed(d2v_unpacker *unpacker, const void **bytes, size_t *size, d2v_error *err) {
	if (!unpacker->first_size)
		return unpacker->packed.read(unpacker->packed.context, bytes, size, err);
	*bytes = unpacker->first;
	*size = unpacker->first_size;
	unpacker->first_size = 0;
	return D2V_OK;
}

static ssize_t on_read(struct archive *archive, void *context, const void **bytes) {
	d2v_unpacker *unpacker = context;
	size_t size;
	if (read_packed(unpacker, bytes, &size, &unpacker->error) == D2V_OK)
		return (ssize_t)size;
	archive_set_error(archive, EIO, "reading failed");
	return ARCHIVE_FATAL;
}

static d2v_status damaged(d2v_unpacker *unpacker, d2v_error *err) {
	if (unpacker->error.status != D2V_OK) {
		if (err)
			*err = unpacker->error;
		return unpacker->error.status;
	}
	const char *said = archive_error_string(unpacker->archive);
	return d2v_fail(
		err, D2V_CORRUPT, "%s: damaged or cut off: %s; fetch it again", unpacker->name, said ? said : "no valid data");
}

static d2v_status open_filters(d2v_unpacker *unpacker, d2v_error *err) {
	struct archive_entry *entry;
	unpacker->archive = archive_read_new();
	if (!unpacker->archive)
		return d2v_fail(err, D2V_NO_MEMORY, "%s: out of memory", unpacker->name);
	archive_read_support_filter_bzip2(unpacker->archive);
	archive_read_support_filter_xz(unpacker->archive);
	archive_read_support_filter_zstd(unpacker->archive);
	archive_read_support_format_raw(unpacker->archive);
	archive_read_support_format_empty(unpacker->archive);
	archive_read_set_read_callback(unpacker->archive, on_read);
	archive_read_set_callback_data(unpacker->archive, unpacker);
	if (archive_read_open1(unpacker->archive) != ARCHIVE_OK)
		return damaged(unpacker, err);
	int result = archive_read_next_header(unpacker->archive, &entry);
	return result == ARCHIVE_OK || result == ARCHIVE_EOF ? D2V_OK : damaged(unpacker, err);
}

static d2v_status start(d2v_unpacker *unpacker, d2v_error *err) {
	static const char xz[] = { '\xfd', '7', 'z', 'X', 'Z', '\0' }, zstd[] = { '\x28', '\xb5', '\x2f', '\xfd' };
	D2V_TRY(unpacker->packed.read(unpacker->packed.context, &unpacker->first, &unpacker->first_size, err));
	if (d2v_gunzip_is_gzip(unpacker->first, unpacker->first_size)) {
		d2v_bytes packed = unpacker->packed;
		packed.name = unpacker->name;
		return d2v_gunzip_new(&unpacker->gunzip, &packed, unpacker->first, unpacker->first_size, err);
	}
	bool is_packed = begins(unpacker, xz, sizeof xz) || begins(unpacker, zstd, sizeof zstd) || begins_bzip2(unpacker);
	return is_packed ? open_filters(unpacker, err) : D2V_OK;
}

d2v_status d2v_unpacker_new(d2v_unpacker **unpacker, const d2v_bytes *packed, d2v_error *err) {
	d2v_unpacker *made;
	*unpacker = NULL;
	D2V_TRY(d2v_alloc_zero(&made, 1, sizeof *made, err));
	made->packed = *packed;
	strncat(made->name, packed->name, sizeof made->name - 1);
	d2v_status status = start(made, err);
	if (status != D2V_OK)
		d2v_unpacker_free(made);
	else
		*unpacker = made;
	return status;
}

d2v_status d2v_unpacker_read(d2v_unpacker *unpacker, const void **bytes, size_t *size, d2v_error *err) {
	la_int64_t offset;
	if (unpacker->gunzip)
		return d2v_gunzip_read(unpacker->gunzip, bytes, size, err);
	if (!unpacker->archive)
		return read_packed(unpacker, bytes, size, err);
	int result = archive_read_data_block(unpacker->archive, bytes, size, &offset);
	if (result == ARCHIVE_EOF)
		*size = 0;
	return result == ARCHIVE_OK || result == ARCHIVE_EOF ? D2V_OK : damaged(unpacker, err);
}

bool d2v_unpacker_is_packed(const d2v_unpacker *unpacker) {
	return unpacker->gunzip || unpacker->archive;
}

static d2v_status read_unpacked(void *context, const void **bytes, size_t *size, d2v_error *err) {
	return d2v_unpacker_read(context, bytes, size, err);
}

d2v_bytes d2v_unpacker_bytes(d2v_unpacker *unpacker) {
	return (d2v_bytes){ .read = read_unpacked, .context = unpacker, .name = unpacker->name };
}

void d2v_unpacker_free(d2v_unpacker *unpacker) {
	if (!unpacker)
		return;
	d2v_gunzip_free(unpacker->gunzip);
	if (unpacker->archive)
		archive_read_free(unpacker->archive);
	d2v_free(unpacker);
}
