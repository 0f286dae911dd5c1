// Bytes that are pulled block after block: how a stream, a member of an archive and what is unpacked from either are
// handed from one reader to the next.
#ifndef D2V_INGEST_BYTES_H
#define D2V_INGEST_BYTES_H

#include "base/error.h"

#include <stddef.h>

typedef struct d2v_bytes {
	// The next block, borrowed until the next call; *size 0: the end.
	d2v_status (*read)(void *context, const void **bytes, size_t *size, d2v_error *err);
	void *context;
	const char *name; // of the file, for messages; borrowed
} d2v_bytes;

#endif
