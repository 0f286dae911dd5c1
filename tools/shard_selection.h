// What the user named: a data set (or some of its splits), and a record of it.
#ifndef D2V_TOOLS_SHARD_SELECTION_H
#define D2V_TOOLS_SHARD_SELECTION_H

#include "shards/dataset.h"

// split NULL: all of them. Goes on with what is left of damaged shards and warns about each; a damaged manifest is an
// error.
d2v_status shard_selection_open(d2v_dataset **dataset, const char *path, const char *split, d2v_error *err);
// "17" (an ordinal of the selection, as `ls` prints it), "train/00000.mdb:17" (as `verify` names it), or a name.
d2v_status shard_selection_find(
	d2v_dataset_view *view, d2v_dataset *dataset, const char *text, uint64_t *record, d2v_error *err);
// What a label means: its class's name, followed by its words where there are any ("n01440764 (tench, Tinca tinca)"), or the
// number where the data set has no classes. Returns text.
#define SHARD_SELECTION_LABEL 160
const char *shard_selection_label(const d2v_manifest *manifest, int32_t label, char text[SHARD_SELECTION_LABEL]);

#endif
