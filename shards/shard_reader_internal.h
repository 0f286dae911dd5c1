// What the files of the shard reader share: shard_reader.c opens a shard and reads what is not a record, shard_view.c reads
// records, shard_check.c walks LMDB's tables. Only they include this.
#ifndef D2V_SHARDS_SHARD_READER_INTERNAL_H
#define D2V_SHARDS_SHARD_READER_INTERNAL_H

#include "shards/shard_reader.h"
#include "shards/shard_trailer.h"

#include <lmdb.h>
#include <pthread.h>

// Set at open and constant after, but for `env`, `records` and `names`, which `lock` guards until they are there (the
// first view opens the environment) and which are constant then, and `damage`, which only opening and reading the index
// write.
struct d2v_shard {
	char *path;
	unsigned char *file; // our own map: trailer, index, meta, and records when the tables are damaged
	uint64_t size;
	d2v_shard_trailer trailer;
	bool forgiving;      // go on after damage
	bool tables_damaged; // LMDB must not see the file
	d2v_error damage;
	pthread_mutex_t lock;
	MDB_env *env;
	MDB_dbi records, names;
};

struct d2v_shard_view {
	d2v_shard *shard;
	MDB_txn *txn; // NULL when the tables are damaged
};

// What LMDB answered, as an error that names the file.
d2v_status d2v_shard_fail_lmdb(const d2v_shard *shard, int code, d2v_error *err);

#endif
