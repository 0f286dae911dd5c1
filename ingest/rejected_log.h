// The list of what was left out of a split, as it grows: DIR/.ingest/NAME.rejected. It becomes DIR/<split>/rejected.tsv
// when the ingest is complete; a restart cuts it back to what the journal knows. Lines: name, reason, message,
// separated by tabs. Life: open -> add ... -> sync -> (publish) -> close. Threads: one at a time.
#ifndef D2V_INGEST_REJECTED_LOG_H
#define D2V_INGEST_REJECTED_LOG_H

#include "base/error.h"
#include "ingest/rejection.h"

#include <stdint.h>

typedef struct d2v_rejected_log {
	int fd;
	char *path;
	uint64_t lines, bytes;
} d2v_rejected_log;

// Keeps the first `bytes` bytes, which are `lines` lines; D2V_CORRUPT when they are not there.
d2v_status d2v_rejected_log_open(
	d2v_rejected_log *log, const char *path, uint64_t lines, uint64_t bytes, d2v_error *err);
d2v_status d2v_rejected_log_add(
	d2v_rejected_log *log, const char *name, const d2v_rejection *rejection, d2v_error *err);
d2v_status d2v_rejected_log_sync(d2v_rejected_log *log, d2v_error *err);
// Copies the list to `path`, all or nothing.
d2v_status d2v_rejected_log_publish(const d2v_rejected_log *log, const char *path, d2v_error *err);
void d2v_rejected_log_close(d2v_rejected_log *log);

#endif
