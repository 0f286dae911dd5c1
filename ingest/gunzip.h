// A gzip stream unpacked as it passes, with its checksums looked at: libarchive unpacks gzip too, but believes whatever
// comes out, and a changed byte in a transcript shows nowhere else. zlib is named in gunzip.c only.
//
// Life: new -> read ... until *size is 0 -> free. One thread at a time. The packed bytes are borrowed.
#ifndef D2V_INGEST_GUNZIP_H
#define D2V_INGEST_GUNZIP_H

#include "ingest/bytes.h"

typedef struct d2v_gunzip d2v_gunzip;

// True when these first bytes of a file are those of gzip.
bool d2v_gunzip_is_gzip(const void *bytes, size_t size);
// first: what was read of them already, borrowed until they are read on; packed->name is borrowed all the time.
d2v_status d2v_gunzip_new(d2v_gunzip **gunzip, const d2v_bytes *packed, const void *first, size_t size, d2v_error *err);
// The next bytes, borrowed until the next call; *size 0: the end. Members that follow each other are one, as for gzip;
// zeros after them are padding. D2V_CORRUPT: damaged or cut off.
d2v_status d2v_gunzip_read(d2v_gunzip *gunzip, const void **bytes, size_t *size, d2v_error *err);
void d2v_gunzip_free(d2v_gunzip *gunzip); // NULL is allowed

#endif
