#include "ingest/stream.h"

#include "base/memory.h"
#include "ingest/address.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK_BYTES ((size_t)64 << 10)

struct d2v_stream {
	char *name;
	int fd;                 // -1: none
	d2v_download *download; // of these four one is there
	d2v_bytes bytes;        // bytes.read NULL: no
	const unsigned char *memory;
	unsigned char *block;
	uint64_t at, total;
	d2v_checksum *sum; // NULL: none is taken
	d2v_checksum_kind kind;
	uint64_t summed; // bytes from the start that the checksum has seen; seeking leaves gaps that finish fills
};

static d2v_status stream_new(
	d2v_stream **opened, const char *name, bool is_summed, d2v_checksum_kind kind, d2v_error *err) {
	d2v_stream *stream;
	*opened = NULL;
	D2V_TRY(d2v_alloc_zero(&stream, 1, sizeof *stream, err));
	stream->fd = -1;
	stream->kind = kind;
	d2v_status status = d2v_strdup(&stream->name, name, err);
	if (status == D2V_OK && is_summed)
		status = d2v_checksum_new(&stream->sum, kind, err);
	if (status != D2V_OK) {
		d2v_stream_close(stream);
		return status;
	}
	*opened = stream;
	return D2V_OK;
}

static d2v_status open_file(d2v_stream *stream, const char *path, d2v_error *err) {
	D2V_TRY(d2v_alloc(&stream->block, BLOCK_BYTES, 1, err));
	stream->fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat facts;
	if (stream->fd < 0 || fstat(stream->fd, &facts) < 0)
		return d2v_fail_errno(err, "%s: cannot be opened", path);
	if (!S_ISREG(facts.st_mode))
		return d2v_fail(err, D2V_INVALID, "%s: neither a file nor a folder", path);
	stream->total = (uint64_t)facts.st_size;
	posix_fadvise(stream->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	return D2V_OK;
}

d2v_status d2v_stream_open_file(d2v_stream **stream, const char *path, d2v_checksum_kind kind, d2v_error *err) {
	D2V_TRY(stream_new(stream, path, true, kind, err));
	d2v_status status = open_file(*stream, path, err);
	if (status != D2V_OK) {
		d2v_stream_close(*stream);
		*stream = NULL;
	}
	return status;
}

d2v_status d2v_stream_open_download(
	d2v_stream **stream, const char *url, const d2v_download_options *options, d2v_checksum_kind kind, d2v_error *err) {
	char shown[512];
	D2V_TRY(stream_new(stream, d2v_address_public(url, shown, sizeof shown), true, kind, err));
	d2v_status status = d2v_download_open(&(*stream)->download, url, options, 0, NULL, err);
	if (status != D2V_OK) {
		d2v_stream_close(*stream);
		*stream = NULL;
	}
	return status;
}

d2v_status d2v_stream_open_memory(
	d2v_stream **stream, const char *name, const void *bytes, size_t size, d2v_error *err) {
	D2V_TRY(stream_new(stream, name, false, D2V_SHA256, err));
	(*stream)->memory = size ? bytes : (const unsigned char *)"";
	(*stream)->total = size;
	return D2V_OK;
}

d2v_status d2v_stream_open_bytes(d2v_stream **stream, const d2v_bytes *bytes, d2v_error *err) {
	D2V_TRY(stream_new(stream, bytes->name, false, D2V_SHA256, err));
	(*stream)->bytes = *bytes;
	(*stream)->bytes.name = (*stream)->name;
	return D2V_OK;
}

static d2v_status read_file(d2v_stream *stream, const void **bytes, size_t *size, d2v_error *err) {
	ssize_t got;
	do
		got = pread(stream->fd, stream->block, BLOCK_BYTES, (off_t)stream->at);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return d2v_fail_errno(err, "%s: cannot be read", stream->name);
	*bytes = stream->block;
	*size = (size_t)got;
	return D2V_OK;
}

d2v_status d2v_stream_read(d2v_stream *stream, const void **bytes, size_t *size, d2v_error *err) {
	uint64_t at;
	if (stream->memory) {
		*bytes = stream->memory + stream->at;
		*size = (size_t)(stream->total - stream->at);
	} else if (stream->bytes.read) {
		D2V_TRY(stream->bytes.read(stream->bytes.context, bytes, size, err));
	} else if (stream->download) {
		D2V_TRY(d2v_download_read(stream->download, bytes, size, &at, err));
		stream->total = d2v_download_total(stream->download);
	} else
		D2V_TRY(read_file(stream, bytes, size, err));
	uint64_t end = stream->at + *size;
	if (stream->at <= stream->summed && end > stream->summed) {
		uint64_t known = stream->summed - stream->at;
		if (stream->sum)
			D2V_TRY(d2v_checksum_add(stream->sum, (const unsigned char *)*bytes + known, *size - (size_t)known, err));
		stream->summed = end;
	}
	stream->at = end;
	return D2V_OK;
}

bool d2v_stream_can_seek(const d2v_stream *stream) {
	return stream->fd >= 0 || stream->memory;
}

d2v_status d2v_stream_seek(d2v_stream *stream, uint64_t to, d2v_error *err) {
	if (!d2v_stream_can_seek(stream) || to > stream->total)
		return d2v_fail(err, D2V_INVALID, "%s: there is no byte %llu to go to", stream->name, (unsigned long long)to);
	stream->at = to;
	return D2V_OK;
}

uint64_t d2v_stream_at(const d2v_stream *stream) {
	return stream->at;
}

uint64_t d2v_stream_total(const d2v_stream *stream) {
	return stream->total;
}

const char *d2v_stream_name(const d2v_stream *stream) {
	return stream->name;
}

d2v_status d2v_stream_finish(d2v_stream *stream, char checksum[D2V_HASH_HEX + 8], uint64_t *size, d2v_error *err) {
	char hex[D2V_HASH_HEX];
	const void *bytes;
	size_t got;
	if (d2v_stream_can_seek(stream))
		stream->at = stream->summed;
	do
		D2V_TRY(d2v_stream_read(stream, &bytes, &got, err));
	while (got);
	*size = stream->summed;
	checksum[0] = '\0';
	if (!stream->sum)
		return D2V_OK;
	D2V_TRY(d2v_checksum_hex(stream->sum, hex, err));
	snprintf(checksum, D2V_HASH_HEX + 8, "%s:%s", stream->kind == D2V_MD5 ? "md5" : "sha256", hex);
	return D2V_OK;
}

d2v_status d2v_stream_check(const d2v_stream *stream, const char *checksum, const char *wanted, d2v_error *err) {
	const char *colon = strchr(checksum, ':'), *hex = colon ? colon + 1 : checksum;
	if (!wanted || strcmp(hex, wanted) == 0)
		return D2V_OK;
	return d2v_fail(err, D2V_CORRUPT,
		"%s: its %s is %s, expected %s: not the file it should be, or damaged; fetch it again", stream->name,
		stream->kind == D2V_MD5 ? "MD5" : "SHA-256", hex, wanted);
}

void d2v_stream_close(d2v_stream *stream) {
	if (!stream)
		return;
	if (stream->fd >= 0)
		close(stream->fd);
	d2v_download_close(stream->download);
	d2v_checksum_free(stream->sum);
	d2v_free(stream->block);
	d2v_free(stream->name);
	d2v_free(stream);
}
