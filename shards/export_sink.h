// Where an export puts its files: a folder, or tar archives as WebDataset reads them.
//
// Life: open_folder | open_tar -> (next -> put ...) ... -> commit | abandon. Nothing is to be seen under its name
// before it is whole: a folder appears at commit, an archive when it is complete. One thread at a time.
#ifndef D2V_SHARDS_EXPORT_SINK_H
#define D2V_SHARDS_EXPORT_SINK_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

typedef struct d2v_export_sink d2v_export_sink;

typedef struct d2v_export_sink_kind {
	d2v_status (*next)(d2v_export_sink *sink, d2v_error *err);
	d2v_status (*put)(d2v_export_sink *sink, const char *path, const void *bytes, size_t size, d2v_error *err);
	d2v_status (*commit)(d2v_export_sink *sink, d2v_error *err); // frees in any case
	void (*abandon)(d2v_export_sink *sink);
} d2v_export_sink_kind;

struct d2v_export_sink { // the first field of the kinds' own structs
	const d2v_export_sink_kind *kind;
};

// D2V_EXISTS when there is something under that name already (an empty folder may be).
d2v_status d2v_export_open_folder(d2v_export_sink **sink, const char *out, d2v_error *err);
// max_bytes 0: everything in the archive `out`, "x.tar"; otherwise "x-000000.tar", "x-000001.tar", ..., each begun when
// the one before has so many bytes. The same files in the same order give the same bytes.
d2v_status d2v_export_open_tar(d2v_export_sink **sink, const char *out, uint64_t max_bytes, d2v_error *err);

// Begins a sample: what belongs together stays in one archive.
static inline d2v_status d2v_export_next(d2v_export_sink *sink, d2v_error *err) {
	return sink->kind->next(sink, err);
}
// path: d2v_path_is_safe. D2V_EXISTS when a folder has such a file already.
static inline d2v_status d2v_export_put(
	d2v_export_sink *sink, const char *path, const void *bytes, size_t size, d2v_error *err) {
	return sink->kind->put(sink, path, bytes, size, err);
}
static inline d2v_status d2v_export_commit(d2v_export_sink *sink, d2v_error *err) {
	return sink->kind->commit(sink, err);
}
static inline void d2v_export_abandon(d2v_export_sink *sink) { // NULL is allowed
	if (sink)
		sink->kind->abandon(sink);
}

#endif
