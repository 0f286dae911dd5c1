// Where files come from: the members of an archive in its order, or the files of a folder in sorted order. Nothing is
// ever written from here: members are read into memory, one at a time, within bounds.
//
// Life: open -> next -> (read | enter) -> next ... until D2V_END -> finish -> close. One thread at a time; another
// thread may carry on. What is wrong with one member is told in member.rejection or by read and is no error; errors are
// about the source itself: it is not there, no archive, cut off, or expands beyond measure (D2V_UNSAFE).
//
// A member may be an archive itself (ImageNet's tar of tars). Once entered, its members come next, as
// "outer.tar/inner.jpg", in bounded memory and counted with all others; what is wrong with it is told by one more
// member of the archive's own path, with a rejection, and the source goes on behind it.
#ifndef D2V_INGEST_ORIGIN_H
#define D2V_INGEST_ORIGIN_H

#include "base/error.h"
#include "ingest/download.h"
#include "ingest/rejection.h"

#include <stdbool.h>
#include <stdint.h>

#define D2V_MEMBER_PATH_MAX 1024 // longer names are rejected
#define D2V_CHECKSUM_TEXT 80     // "sha256:<64 digits>"

typedef struct d2v_member {
	uint64_t index;   // position among all members of the source, folders and links included
	const char *path; // without "./" and doubled slashes; borrowed until next. When unsafe: escaped, only to be shown
	bool is_file;     // false: a folder, to be passed over
	bool is_inner;    // lies in an archive that was entered
	d2v_rejection rejection; // why it must not be used; NONE: it may be read
} d2v_member;

typedef struct d2v_origin_options {
	const char *md5;    // what an archive's checksum must be in the end, or NULL: a SHA-256 is taken, which costs less
	const char *sha256; // instead of md5, or NULL
	d2v_download_options download;
	bool single; // a file at `where` is the only member itself, and no archive
} d2v_origin_options;

typedef struct d2v_origin d2v_origin;

// where: a folder, an archive (tar, also with gzip, bzip2, xz, zstd; zip), or an http(s) address of one, which is read
// as it comes and not kept.
d2v_status d2v_origin_open(d2v_origin **source, const char *where, const d2v_origin_options *options, d2v_error *err);
// What the only member of such a source is called. Returns name.
const char *d2v_origin_single_name(const char *where, char *name, size_t size);
// An archive that lies in memory, which is borrowed until close. It has no checksum.
d2v_status d2v_origin_open_memory(
	d2v_origin **source, const char *name, const void *bytes, size_t size, d2v_error *err);
d2v_status d2v_origin_next(d2v_origin *source, d2v_member *member, d2v_error *err);
// The current member's bytes into *bytes (d2v_reserve), at most max_bytes; more, or another size than stated:
// rejection.
d2v_status d2v_origin_read(d2v_origin *source, uint64_t max_bytes, unsigned char **bytes, size_t *capacity,
	size_t *size, d2v_rejection *rejection, d2v_error *err);
// Instead of reading it whole: the next bytes of the current member, borrowed until the next call; *size 0: its end.
d2v_status d2v_origin_read_on(
	d2v_origin *source, const void **bytes, size_t *size, d2v_rejection *rejection, d2v_error *err);
// Or: the current member is an archive, whose members come next. Not for members that are inner ones themselves.
d2v_status d2v_origin_enter(d2v_origin *source, d2v_error *err);
// Size the current member says it has; 0: it does not say.
uint64_t d2v_origin_stated_size(const d2v_origin *source);
// Bytes consumed and in all (0: unknown), of the archive file or download, for progress.
void d2v_origin_progress(const d2v_origin *source, uint64_t *done, uint64_t *total);
// After D2V_END: checksum ("" for a folder) and size of the whole. D2V_CORRUPT when the checksum is not the one wanted.
d2v_status d2v_origin_finish(d2v_origin *source, char checksum[D2V_CHECKSUM_TEXT], uint64_t *bytes, d2v_error *err);
void d2v_origin_close(d2v_origin *source); // NULL is allowed

#endif
