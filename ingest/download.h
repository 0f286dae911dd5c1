// Bytes of an http(s) address, pulled piece by piece. libcurl is named in download.c and address.c only.
//
// A connection that breaks is taken up again by Range where it broke, after a pause that doubles each time and has
// jitter; a server that ignores Range has the bytes already had thrown away again; one whose file has changed meanwhile
// (ETag, Last-Modified, size) is an error. Nothing endless is believed: the size is known from the caller or from the
// server, and otherwise bounded. What cannot get better by waiting (401, 403, 404, a bad certificate) fails at once.
// Waiting looks at d2v_signals_asked() and gives D2V_INTERRUPTED. One thread at a time.
//
// Redirects are followed, and a login (headers, or user and password in the address) goes to the server it was given for
// and to no other: one of another scheme, host or port is asked without it.
#ifndef D2V_INGEST_DOWNLOAD_H
#define D2V_INGEST_DOWNLOAD_H

#include "base/error.h"

#include <stdint.h>

typedef struct d2v_download_options {
	uint64_t expected;  // bytes the whole must have; 0: not known beforehand
	uint64_t max;       // bytes that are too many when nobody knows the size
	int retries;        // attempts in a row that bring nothing before giving up
	double retry_delay; // seconds before the first retry
	double stall;       // seconds without a byte after which a connection counts as lost
	const char *const *headers; // lines "Name: value" to send along, e.g. a login; borrowed
	size_t header_count;
} d2v_download_options;
#define D2V_DOWNLOAD_DEFAULTS \
	(d2v_download_options) { \
		.max = (uint64_t)64 << 30, .retries = 8, .retry_delay = 1, .stall = 60 \
	}

// What tells one version of a file from another, so that bytes of two are never put together.
#define D2V_DOWNLOAD_TAG 256
typedef struct d2v_download_version {
	char tag[D2V_DOWNLOAD_TAG]; // ETag (strong) or Last-Modified; "" when the server gives neither
	uint64_t size;              // 0: unknown
} d2v_download_version;

typedef struct d2v_download d2v_download;

// Connects with the first read. start > 0 asks for the rest of `version`, of which that many bytes are there.
d2v_status d2v_download_open(d2v_download **download, const char *url, const d2v_download_options *options,
	uint64_t start, const d2v_download_version *version, d2v_error *err);
// The next bytes, borrowed until the next call; *size 0: the end. *at: where in the file they belong; 0 again when the
// caller's beginning is of no use (the file has changed, or the server cannot continue it) and it has to start over.
d2v_status d2v_download_read(d2v_download *download, const void **bytes, size_t *size, uint64_t *at, d2v_error *err);
// Known after the first read.
const d2v_download_version *d2v_download_version_of(const d2v_download *download);
uint64_t d2v_download_total(const d2v_download *download); // 0: unknown
void d2v_download_close(d2v_download *download);           // NULL is allowed

// A small file whole, of at most `max` bytes, with a NUL behind them that size does not count; the caller's (d2v_free),
// NULL when it is empty. options: but for expected and max.
d2v_status d2v_download_whole(const char *url, const d2v_download_options *options, uint64_t max, char **bytes,
	size_t *size, d2v_error *err);

#endif
