// Packed bytes unpacked as they pass: gzip, xz, zstd and bzip2, known by their first bytes; anything else passes as it
// is. Every checksum that the formats have is looked at, also those at the very end.
//
// Life: new -> read ... until *size is 0 -> free. One thread at a time. The bytes are borrowed.
#ifndef D2V_INGEST_UNPACKER_H
#define D2V_INGEST_UNPACKER_H

#include "ingest/bytes.h"

typedef struct d2v_unpacker d2v_unpacker;

// Reads the first block.
d2v_status d2v_unpacker_new(d2v_unpacker **unpacker, const d2v_bytes *packed, d2v_error *err);
// The next bytes, borrowed until the next call; *size 0: the end. D2V_CORRUPT: damaged or cut off; what `packed` failed
// with is handed on.
d2v_status d2v_unpacker_read(d2v_unpacker *unpacker, const void **bytes, size_t *size, d2v_error *err);
bool d2v_unpacker_is_packed(const d2v_unpacker *unpacker); // false: the bytes pass as they are
d2v_bytes d2v_unpacker_bytes(d2v_unpacker *unpacker);      // the same, to be pulled by another reader
void d2v_unpacker_free(d2v_unpacker *unpacker);            // NULL is allowed

#endif
