// The same immutable file under another name: a hard link where the file system has them, otherwise a copy.
#ifndef D2V_SHARDS_LINK_FILE_H
#define D2V_SHARDS_LINK_FILE_H

#include "shards/shard_writer.h"

// facts: of a shard, whose copy is held against its digest (D2V_CORRUPT), or NULL. *linked says which it became. `to`
// must not exist.
d2v_status d2v_link_file(
	const char *from, const char *to, const d2v_shard_facts *facts, bool copy, bool *linked, d2v_error *err);

#endif
