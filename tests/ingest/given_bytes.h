// Bytes handed out in blocks of a chosen size, as a reader of d2v_bytes may get them.
#ifndef D2V_TESTS_INGEST_GIVEN_BYTES_H
#define D2V_TESTS_INGEST_GIVEN_BYTES_H

#include "ingest/bytes.h"

typedef struct given_bytes {
	const char *bytes;
	size_t size, at;
	size_t block;   // bytes at a time; 0: all at once
	size_t fail_at; // a failure instead of the byte there; 0: none
} given_bytes;

d2v_bytes given_bytes_open(given_bytes *given); // borrows it

#endif
