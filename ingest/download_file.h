// A download kept as a file: NAME.part grows, beside it NAME.part.json says which version of what it is; when it is
// whole and its checksum right it becomes NAME. Killed at any moment and called again it goes on where it was.
#ifndef D2V_INGEST_DOWNLOAD_FILE_H
#define D2V_INGEST_DOWNLOAD_FILE_H

#include "base/hash.h"
#include "ingest/download.h"

typedef void d2v_download_progress(void *context, uint64_t done, uint64_t total); // total 0: unknown

// md5: lower-case hex that the whole must have, or NULL. Nothing is done when `path` is there already and has the
// expected size. Fails before the first byte is asked for when the disk has no room.
d2v_status d2v_download_file(const char *url, const char *path, const char *md5, const d2v_download_options *options,
	d2v_download_progress *progress, void *context, d2v_error *err);

#endif
