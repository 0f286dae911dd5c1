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

#endif
