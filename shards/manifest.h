// dataset.json: what a data set is. Published last; a folder without one is not a data set yet. docs/format.md lists the keys.
//
// Its text is canonical (sorted keys, fixed layout) and carries its own digest, so that one changed bit anywhere in it is found; it is not to
// be edited by hand. It also lists size and digest of every other file of the data set: shards, rejected.tsv, tokenizer.
// Life: init -> (load | parse | add_* -> save) -> release. After a failed load or parse the manifest is as after init. One thread at a time.
#ifndef D2V_SHARDS_MANIFEST_H
#define D2V_SHARDS_MANIFEST_H

#include "shards/record.h"
#include "shards/shard_writer.h"

#include <jansson.h>

#define D2V_MANIFEST_SCHEMA 1
#define D2V_MANIFEST_NAME "dataset.json"
#define D2V_MANIFEST_BYTES_MAX ((size_t)256 << 20) // about a million shards
#define D2V_MANIFEST_FILE_MAX ((size_t)1 << 30) // of a file that is no shard

typedef struct d2v_manifest_shard {
	char *file; // "train/00000.mdb", relative to the data set, checked to stay below it
	d2v_shard_facts facts;
} d2v_manifest_shard;

typedef struct d2v_manifest_split {
	char *name; // "train", "dev-clean"
	d2v_manifest_shard *shards;
	size_t shard_count;
	uint64_t records, units, bytes, rejected; // sums over shards; rejected: lines of rejected.tsv
	uint64_t digest; // chain of the shards' digests
	json_t *statistics; // shards/statistics.h; made from the index by manifest_stats
} d2v_manifest_split;

typedef struct d2v_manifest_source {
	char *name;   // file name, URL, or folder as given, without machine-specific parents
	char *checksum; // "md5:..." or "sha256:..." or "" when unknown
	uint64_t bytes;
} d2v_manifest_source;

typedef struct d2v_manifest_class {
	char *name;  // "n01440764", "airplane"
	char *words; // what people call it, e.g. "tench, Tinca tinca"; "" when nothing is known beyond the name
} d2v_manifest_class;

typedef struct d2v_manifest_file { // that is no shard
	char *file; // "train/rejected.tsv", relative to the data set, checked to stay below it
	uint64_t bytes, digest; // XXH3-64
} d2v_manifest_file;

typedef struct d2v_manifest {
	d2v_modality modality;
	uint32_t rate; // audio: samples per second
	d2v_manifest_split *splits;
	size_t split_count;
	d2v_manifest_class *classes; // label i of the records means classes[i]
	bool classes_unsorted; // some name is smaller than the one before it
	size_t class_count; // 0: there are none, and labels, where records have any, are other numbers (LibriSpeech: speakers)
	d2v_manifest_source *sources;
	size_t source_count;
	d2v_manifest_file *files; // filled by load; save looks at the files that are there
	size_t file_count;
	json_t *options; // the ingest options that decide the bytes
} d2v_manifest;

void d2v_manifest_init(d2v_manifest *manifest, d2v_modality modality);
void d2v_manifest_release(d2v_manifest *manifest);
d2v_status d2v_manifest_load(d2v_manifest *manifest, const char *dataset, d2v_error *err);
d2v_status d2v_manifest_modality(const char *dataset, d2v_modality *modality, d2v_error *err); // of the data set alone
// Damage of any kind is D2V_CORRUPT, a newer schema D2V_UNSUPPORTED.
d2v_status d2v_manifest_parse(d2v_manifest *manifest, const char *text, size_t size, const char *where, d2v_error *err); // fuzzed
// Lists rejected.tsv, <split>/rejected.tsv of every split and the files in tokenizer/ where they are there, so they must be published before.
d2v_status d2v_manifest_save(const d2v_manifest *manifest, const char *dataset, d2v_error *err);
// Reads a file that a manifest lists, and holds it against size and digest there: D2V_CORRUPT when it is another. *bytes: d2v_free.
d2v_status d2v_manifest_read_file(const char *dataset, const d2v_manifest_file *file, void **bytes, size_t *size, d2v_error *err);
// *split is borrowed until the next split is added. D2V_EXISTS for a name used before, D2V_INVALID for one that is no folder's name.
d2v_status d2v_manifest_add_split(d2v_manifest *manifest, const char *name, d2v_manifest_split **split, d2v_error *err);
d2v_status d2v_manifest_add_shard(d2v_manifest_split *split, const char *file, const d2v_shard_facts *facts, d2v_error *err);
d2v_status d2v_manifest_add_source(d2v_manifest *manifest, const char *name, const char *checksum, uint64_t bytes, d2v_error *err);
// The class of the next label. words may be NULL. D2V_EXISTS for a name used before, D2V_INVALID for one that is no text or empty.
d2v_status d2v_manifest_add_class(d2v_manifest *manifest, const char *name, const char *words, d2v_error *err);
const d2v_manifest_split *d2v_manifest_find_split(const d2v_manifest *manifest, const char *name); // NULL: not there
// The split that the list "NAME,NAME..." begins with. NULL: not there.
const d2v_manifest_split *d2v_manifest_first_split(const d2v_manifest *manifest, const char *names);
// Fills split->statistics by reading the shards' indexes below `dataset`. Classes are to be added before: the records of each are counted.
d2v_status d2v_manifest_stats(d2v_manifest *manifest, d2v_manifest_split *split, const char *dataset, d2v_error *err);
// The digest of the whole data set: splits and shards in order. What "one digest for any --jobs" means.
uint64_t d2v_manifest_digest(const d2v_manifest *manifest);

#endif
