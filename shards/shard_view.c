#include "base/memory.h"
#include "shards/shard_reader_internal.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

d2v_status d2v_shard_fail_lmdb(const d2v_shard *shard, int code, d2v_error *err) {
	if (code == EMFILE || code == ENFILE)
		return d2v_fail(err, D2V_IO, "%s: too many open files; raise the limit (ulimit -n)", shard->path);
	if (code > 0) {
		errno = code;
		return d2v_fail_errno(err, "%s: cannot be opened", shard->path);
	}
	return d2v_fail(err, D2V_CORRUPT, "%s: %s", shard->path, mdb_strerror(code));
}

static int open_tables(d2v_shard *shard, MDB_env *env) {
	MDB_txn *txn;
	int code = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
	if (code)
		return code;
	code = mdb_dbi_open(txn, "records", 0, &shard->records);
	if (!code)
		code = mdb_dbi_open(txn, "names", 0, &shard->names);
	if (!code)
		return mdb_txn_commit(txn); // keeps the tables' handles
	mdb_txn_abort(txn);
	return code;
}

// The caller holds the lock.
static d2v_status open_environment(d2v_shard *shard, d2v_error *err) {
	MDB_env *env;
	int code = mdb_env_create(&env);
	if (code)
		return d2v_shard_fail_lmdb(shard, code, err);
	code = mdb_env_set_maxdbs(env, 4);
	if (!code)
		code = mdb_env_set_mapsize(env, shard->size);
	if (!code)
		code = mdb_env_open(env, shard->path, MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK | MDB_NOTLS | MDB_NORDAHEAD, 0666);
	if (!code)
		code = open_tables(shard, env);
	if (code) {
		mdb_env_close(env);
		return d2v_shard_fail_lmdb(shard, code, err);
	}
	shard->env = env;
	return D2V_OK;
}

d2v_status d2v_shard_view_new(d2v_shard_view **view, d2v_shard *shard, d2v_error *err) {
	d2v_shard_view *made;
	*view = NULL;
	D2V_TRY(d2v_alloc_zero(&made, 1, sizeof *made, err));
	made->shard = shard;
	d2v_status status = D2V_OK;
	if (!shard->tables_damaged) {
		pthread_mutex_lock(&shard->lock);
		if (!shard->env)
			status = open_environment(shard, err);
		pthread_mutex_unlock(&shard->lock);
		if (status == D2V_OK) {
			int code = mdb_txn_begin(shard->env, NULL, MDB_RDONLY, &made->txn);
			if (code)
				status = d2v_shard_fail_lmdb(shard, code, err);
		}
	}
	if (status != D2V_OK) {
		d2v_free(made);
		return status;
	}
	*view = made;
	return D2V_OK;
}

void d2v_shard_view_free(d2v_shard_view *view) {
	if (!view)
		return;
	if (view->txn)
		mdb_txn_abort(view->txn);
	d2v_free(view);
}

// Where a record's pages hold it: through LMDB, whose answer must be what the directory says, or through the directory
// alone.
static d2v_status find_value(
	d2v_shard_view *view, uint64_t ordinal, bool verify, const unsigned char **value, size_t *room, d2v_error *err) {
	d2v_shard *shard = view->shard;
	D2V_TRY(d2v_shard_trailer_value(shard->file, &shard->trailer, ordinal, verify, value, room, err));
	if (!view->txn)
		return D2V_OK;
	uint64_t big_endian = htobe64(ordinal);
	MDB_val key = { sizeof big_endian, &big_endian }, found;
	int code = mdb_get(view->txn, shard->records, &key, &found);
	if (code)
		return d2v_fail(err, D2V_CORRUPT, "is not in the table of records (%s)", mdb_strerror(code));
	if (found.mv_size > *room)
		return d2v_fail(err, D2V_CORRUPT, "the table of records says that it is larger than its pages");
	*value = found.mv_data;
	return D2V_OK;
}

d2v_status d2v_shard_read(d2v_shard_view *view, uint64_t ordinal, bool verify, d2v_record *record, d2v_error *err) {
	const unsigned char *value;
	size_t room;
	if (ordinal >= d2v_shard_records(view->shard))
		return d2v_fail(err, D2V_NOT_FOUND, "%s: record %llu: there are only %llu", view->shard->path,
			(unsigned long long)ordinal, (unsigned long long)d2v_shard_records(view->shard));
	d2v_status status = find_value(view, ordinal, verify, &value, &room, err);
	if (status == D2V_OK)
		status = d2v_record_parse(value, room, verify, record, err);
	if (status != D2V_OK)
		d2v_error_prefix(err, "%s: record %llu", view->shard->path, (unsigned long long)ordinal);
	return status;
}

// Without tables every record is asked for its name.
static d2v_status find_slowly(d2v_shard_view *view, const char *name, uint64_t *ordinal, d2v_error *err) {
	size_t size = strlen(name);
	for (uint64_t i = 0; i < d2v_shard_records(view->shard); i++) {
		d2v_record record;
		if (d2v_shard_read(view, i, false, &record, NULL) == D2V_OK && record.name_size == size &&
			memcmp(record.name, name, size) == 0) {
			*ordinal = i;
			return D2V_OK;
		}
	}
	return d2v_fail(err, D2V_NOT_FOUND, "%s: has no record named '%s'", view->shard->path, name);
}

d2v_status d2v_shard_find(d2v_shard_view *view, const char *name, uint64_t *ordinal, d2v_error *err) {
	union {
		const char *name;
		void *data; // LMDB only reads through it; its interface has no const
	} text = { .name = name };
	MDB_val key = { strlen(name), text.data }, found;
	uint64_t big_endian;
	*ordinal = 0;
	if (!view->txn)
		return find_slowly(view, name, ordinal, err);
	int code = key.mv_size < 1 || key.mv_size > D2V_RECORD_NAME_MAX
				   ? MDB_NOTFOUND
				   : mdb_get(view->txn, view->shard->names, &key, &found);
	if (code == MDB_NOTFOUND)
		return d2v_fail(err, D2V_NOT_FOUND, "%s: has no record named '%s'", view->shard->path, name);
	if (code)
		return d2v_shard_fail_lmdb(view->shard, code, err);
	if (found.mv_size != sizeof big_endian)
		return d2v_fail(err, D2V_CORRUPT, "%s: its table of names is damaged at '%s'", view->shard->path, name);
	memcpy(&big_endian, found.mv_data, sizeof big_endian);
	*ordinal = be64toh(big_endian);
	return D2V_OK;
}

void d2v_shard_will_need(d2v_shard_view *view, uint64_t ordinal) {
	const d2v_shard *shard = view->shard;
	if (ordinal >= d2v_shard_records(shard))
		return;
	d2v_shard_extent extent = shard->trailer.extents[ordinal];
	// Advice through any map fills the same page cache. Starts and lengths are whole pages of the shard; the kernel
	// wants its own.
	uintptr_t start = (uintptr_t)(shard->file + (size_t)extent.page * shard->trailer.page_size);
	uintptr_t end = start + (size_t)extent.pages * shard->trailer.page_size;
	uintptr_t mask = (uintptr_t)sysconf(_SC_PAGESIZE) - 1;
	start &= ~mask;
	madvise((void *)start, end - start, MADV_WILLNEED);
}
