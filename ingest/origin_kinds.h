// What the kinds of sources (a folder, an archive, a single file) have in common; included by origin*.c only.
#ifndef D2V_INGEST_ORIGIN_KINDS_H
#define D2V_INGEST_ORIGIN_KINDS_H

#include "ingest/origin.h"
#include "ingest/stream.h"

typedef struct d2v_origin_kind {
	d2v_status (*next)(d2v_origin *source, d2v_member *member, d2v_error *err);
	d2v_status (*read)(d2v_origin *source, uint64_t max_bytes, unsigned char **bytes, size_t *capacity, size_t *size,
		d2v_rejection *rejection, d2v_error *err);
	d2v_status (*read_on)(
		d2v_origin *source, const void **bytes, size_t *size, d2v_rejection *rejection, d2v_error *err);
	uint64_t (*stated_size)(const d2v_origin *source);
	void (*progress)(const d2v_origin *source, uint64_t *done, uint64_t *total);
	d2v_status (*finish)(d2v_origin *source, char checksum[D2V_CHECKSUM_TEXT], uint64_t *bytes, d2v_error *err);
	void (*close)(d2v_origin *source);
} d2v_origin_kind;

struct d2v_origin { // the first field of the kinds' own structs
	const d2v_origin_kind *kind;
	char path[D2V_MEMBER_PATH_MAX + 1];       // of the current member
	uint64_t count;                           // members so far
	d2v_origin *inner;                        // the archive that was entered, or NULL
	char inner_path[D2V_MEMBER_PATH_MAX + 1]; // of the current member of it
	bool entered;                             // the current member was entered
	bool failed;                              // what failed was the source itself, while the inner archive read from it
	d2v_error why;                            // why the inner archive is not there any more; next tells
};

d2v_status d2v_origin_open_folder(d2v_origin **source, const char *path, d2v_error *err);
d2v_status d2v_origin_open_single(
	d2v_origin **source, const char *where, const d2v_origin_options *options, d2v_error *err);
d2v_status d2v_origin_open_archive(
	d2v_origin **source, const char *where, const d2v_origin_options *options, d2v_error *err);
// The same for what the stream has, which is taken over, also on failure. sum: what its checksum must be, or
// NULL; borrowed.
d2v_status d2v_origin_open_stream(d2v_origin **source, d2v_stream *stream, const char *sum, d2v_error *err);

// Fills member->path and index from a raw name: drops "./" and doubled slashes, and rejects what is absolute, has "..",
// is no UTF-8, or is too long. name NULL: it could not be read.
void d2v_origin_name_member(d2v_origin *source, const char *name, d2v_member *member);

#endif
