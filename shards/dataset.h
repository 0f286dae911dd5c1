// A split of a data set as one sequence of records: global ordinal -> (shard, ordinal).
//
// Life: open -> view_new per thread -> read ... -> view_free -> close. The index of the whole split is in memory (24 bytes a record).
#ifndef D2V_SHARDS_DATASET_H
#define D2V_SHARDS_DATASET_H

#include "shards/manifest.h"
#include "shards/shard_reader.h"

typedef struct d2v_dataset d2v_dataset;
typedef struct d2v_dataset_view d2v_dataset_view;

#define D2V_DATASET_ALL "*" // as a split: all of them, in the order of the manifest

// split NULL: the only one, or "train"; otherwise an error lists the splits there are. Several splits may be
// joined, each once: "train-clean-100,train-clean-360".
d2v_status d2v_dataset_open(d2v_dataset **dataset, const char *path, const char *split, d2v_error *err);
// The same, but goes on when up to max_damages shards are damaged outside of their records. What can still be read is read (a
// single flipped bit loses no record); a shard that is gone or cut off keeps its records' places, with rows whose units are 0.
d2v_status d2v_dataset_open_damaged(
	d2v_dataset **dataset, const char *path, const char *split, uint64_t max_damages, d2v_error *err);
// What was found so at opening, one message per damaged shard that names it; index < d2v_dataset_damages.
uint64_t d2v_dataset_damages(const d2v_dataset *dataset);
const char *d2v_dataset_damage(const d2v_dataset *dataset, uint64_t index);
void d2v_dataset_close(d2v_dataset *dataset);
const d2v_manifest *d2v_dataset_manifest(const d2v_dataset *dataset);
uint64_t d2v_dataset_records(const d2v_dataset *dataset);
const d2v_index_row *d2v_dataset_rows(const d2v_dataset *dataset); // (records), borrowed until close
// "DATASET/train/00000.mdb: record 17" for messages; text is returned.
const char *d2v_dataset_where(const d2v_dataset *dataset, uint64_t record, char *text, size_t size);
// Where a record that is there lies. Borrowed until close.
typedef struct d2v_dataset_place {
	const d2v_manifest_split *split;
	const char *file; // of the shard, relative to the data set
	uint64_t ordinal; // in the shard
} d2v_dataset_place;
d2v_dataset_place d2v_dataset_place_of(const d2v_dataset *dataset, uint64_t record);
// The other way round. D2V_NOT_FOUND when that shard is not among the splits or has no such record.
d2v_status d2v_dataset_record_at(
	const d2v_dataset *dataset, const char *file, uint64_t ordinal, uint64_t *record, d2v_error *err);

d2v_status d2v_dataset_view_new(d2v_dataset_view **view, d2v_dataset *dataset, d2v_error *err);
void d2v_dataset_view_free(d2v_dataset_view *view);
// Borrowed until the data set is closed. A record's XXH3 is checked the first time this process reads it (a bitmap shared by all views).
// Errors name file and record.
d2v_status d2v_dataset_read(d2v_dataset_view *view, uint64_t record, d2v_record *out, d2v_error *err);
// The same without looking at the digest, so that only the first page of the record is read: for listing. Lengths are checked, but
// name and text of a damaged record may be any bytes.
d2v_status d2v_dataset_peek(d2v_dataset_view *view, uint64_t record, d2v_record *out, d2v_error *err);
// The first record of that name; D2V_NOT_FOUND. Names are unique within a shard only.
d2v_status d2v_dataset_find(d2v_dataset_view *view, const char *name, uint64_t *record, d2v_error *err);
void d2v_dataset_will_need(d2v_dataset_view *view, uint64_t record);

#endif
