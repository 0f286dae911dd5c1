#include "ingest/gunzip.h"

#include "base/memory.h"

#include <limits.h>
#include <zlib.h>

#define BLOCK_BYTES ((size_t)256 << 10)
#define GZIP_WINDOW (MAX_WBITS + 16) // gzip's header and trailer, no other

struct d2v_gunzip {
	d2v_bytes packed;
	z_stream zlib;
	const unsigned char *input; // what of the last block zlib has not been given yet
	size_t left;
	bool inside; // a member: the bytes must not end
	unsigned char *block;
};

bool d2v_gunzip_is_gzip(const void *bytes, size_t size) {
	const unsigned char *magic = bytes;
	return size >= 2 && magic[0] == 0x1f && magic[1] == 0x8b;
}

d2v_status d2v_gunzip_new(
	d2v_gunzip **gunzip, const d2v_bytes *packed, const void *first, size_t size, d2v_error *err) {
	d2v_gunzip *made;
	*gunzip = NULL;
	D2V_TRY(d2v_alloc_zero(&made, 1, sizeof *made, err));
	made->packed = *packed;
	made->input = first;
	made->left = size;
	d2v_status status = d2v_alloc(&made->block, BLOCK_BYTES, 1, err);
	if (status == D2V_OK && inflateInit2(&made->zlib, GZIP_WINDOW) != Z_OK)
		status = d2v_fail(err, D2V_NO_MEMORY, "%s: zlib cannot start", packed->name);
	if (status != D2V_OK) {
		d2v_free(made->block);
		d2v_free(made);
		return status;
	}
	*gunzip = made;
	return D2V_OK;
}

static d2v_status damaged(const d2v_gunzip *gunzip, const char *why, d2v_error *err) {
	return d2v_fail(err, D2V_CORRUPT, "%s: the archive is damaged or cut off: gzip: %s; fetch it again",
		gunzip->packed.name, why ? why : "no valid data");
}

// More input. *end: there is none, and that is as it should be.
static d2v_status refill(d2v_gunzip *gunzip, bool *end, d2v_error *err) {
	const void *bytes;
	D2V_TRY(gunzip->packed.read(gunzip->packed.context, &bytes, &gunzip->left, err));
	gunzip->input = bytes;
	*end = gunzip->left == 0;
	return *end && gunzip->inside ? damaged(gunzip, "unexpected end", err) : D2V_OK;
}

// Between two members: passes over padding, and begins the next one when it comes.
static d2v_status begin_member(d2v_gunzip *gunzip, d2v_error *err) {
	while (gunzip->left && !*gunzip->input)
		gunzip->input++, gunzip->left--;
	if (!gunzip->left)
		return D2V_OK;
	gunzip->inside = true;
	return inflateReset(&gunzip->zlib) == Z_OK ? D2V_OK : damaged(gunzip, gunzip->zlib.msg, err);
}

static d2v_status inflate_some(d2v_gunzip *gunzip, size_t *size, d2v_error *err) {
	z_stream *zlib = &gunzip->zlib;
	uInt given = gunzip->left < UINT_MAX ? (uInt)gunzip->left : UINT_MAX;
	zlib->next_in = (z_const Bytef *)(uintptr_t)gunzip->input;
	zlib->avail_in = given;
	zlib->next_out = gunzip->block;
	zlib->avail_out = BLOCK_BYTES;
	int result = inflate(zlib, Z_NO_FLUSH);
	gunzip->input += given - zlib->avail_in;
	gunzip->left -= given - zlib->avail_in;
	*size = BLOCK_BYTES - zlib->avail_out;
	if (result == Z_STREAM_END)
		gunzip->inside = false;
	else if (result == Z_MEM_ERROR)
		return d2v_fail(err, D2V_NO_MEMORY, "%s: zlib is out of memory", gunzip->packed.name);
	else if (result != Z_OK && result != Z_BUF_ERROR)
		return damaged(gunzip, zlib->msg, err);
	return D2V_OK;
}

d2v_status d2v_gunzip_read(d2v_gunzip *gunzip, const void **bytes, size_t *size, d2v_error *err) {
	bool end = false;
	*bytes = gunzip->block;
	*size = 0;
	while (!*size) {
		if (!gunzip->left)
			D2V_TRY(refill(gunzip, &end, err));
		if (end)
			return D2V_OK;
		if (!gunzip->inside)
			D2V_TRY(begin_member(gunzip, err));
		if (gunzip->inside)
			D2V_TRY(inflate_some(gunzip, size, err));
	}
	return D2V_OK;
}

void d2v_gunzip_free(d2v_gunzip *gunzip) {
	if (!gunzip)
		return;
	inflateEnd(&gunzip->zlib);
	d2v_free(gunzip->block);
	d2v_free(gunzip);
}
