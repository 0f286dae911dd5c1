// Bytes of an archive in order, from a file, from the network or from memory, with their checksum taken as they pass.
//
// Life: open (d2v_stream_open_file, d2v_stream_open_download, d2v_stream_open_memory) -> read ... -> finish -> close.
// One thread at a time.
#ifndef D2V_INGEST_STREAM_H
#define D2V_INGEST_STREAM_H

#include "base/error.h"
#include "base/hash.h"
#include "ingest/bytes.h"
#include "ingest/download.h"

#include <stdint.h>

typedef struct d2v_stream d2v_stream;

// kind: of the checksum.
d2v_status d2v_stream_open_file(d2v_stream **stream, const char *path, d2v_checksum_kind kind, d2v_error *err);
// Nothing is written to disk. A lost connection is taken up again where it broke.
d2v_status d2v_stream_open_download(
	d2v_stream **stream, const char *url, const d2v_download_options *options, d2v_checksum_kind kind, d2v_error *err);

// From memory, which is borrowed until close: no checksum is taken.
d2v_status d2v_stream_open_memory(
	d2v_stream **stream, const char *name, const void *bytes, size_t size, d2v_error *err);

// Bytes that somebody else hands out; what bytes->context points to is borrowed until close. No checksum is taken.
d2v_status d2v_stream_open_bytes(d2v_stream **stream, const d2v_bytes *bytes, d2v_error *err);

// The next bytes, borrowed until the next call; *size 0: the end.
d2v_status d2v_stream_read(d2v_stream *stream, const void **bytes, size_t *size, d2v_error *err);
bool d2v_stream_can_seek(const d2v_stream *stream);
d2v_status d2v_stream_seek(d2v_stream *stream, uint64_t to, d2v_error *err);
uint64_t d2v_stream_at(const d2v_stream *stream);
uint64_t d2v_stream_total(const d2v_stream *stream); // 0: unknown so far
const char *d2v_stream_name(const d2v_stream *stream);

// Reads what nobody asked for to the end, and gives the checksum ("md5:..." or "sha256:..."; "" in memory) and the size
// of the whole.
d2v_status d2v_stream_finish(d2v_stream *stream, char checksum[D2V_HASH_HEX + 8], uint64_t *bytes, d2v_error *err);
// Holds what finish gave against the hexadecimal sum that it must be; NULL: any. D2V_CORRUPT.
d2v_status d2v_stream_check(const d2v_stream *stream, const char *checksum, const char *wanted, d2v_error *err);
void d2v_stream_close(d2v_stream *stream); // NULL is allowed

#endif
