#include "shards/shard_reader.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/memory.h"
#include "shards/shard_trailer.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

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

static d2v_status fail_lmdb(const d2v_shard *shard, int code, d2v_error *err) {
	if (code == EMFILE || code == ENFILE)
		return d2v_fail(err, D2V_IO, "%s: too many open files; raise the limit (ulimit -n)", shard->path);
	if (code > 0) {
		errno = code;
		return d2v_fail_errno(err, "%s: cannot be opened", shard->path);
	}
	return d2v_fail(err, D2V_CORRUPT, "%s: %s", shard->path, mdb_strerror(code));
}

// Takes damage outside of records for an error, or notes it and goes on.
static d2v_status meet_damage(d2v_shard *shard, const d2v_error *damage, d2v_error *err) {
	if (!shard->forgiving)
		return d2v_fail(err, damage->status, "%s: %s; run d2v-shard verify", shard->path, damage->text);
	if (shard->damage.status == D2V_OK)
		d2v_fail(&shard->damage, damage->status, "%s: %s", shard->path, damage->text);
	return D2V_OK;
}

static d2v_status map_file(d2v_shard *shard, d2v_error *err) {
	d2v_status status = D2V_OK;
	struct stat about;
	int fd = open(shard->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a FIFO must not make us wait
	if (fd < 0)
		return d2v_fail_errno(err, "%s: cannot be opened", shard->path);
	if (fstat(fd, &about) < 0)
		status = d2v_fail_errno(err, "%s: cannot be looked at", shard->path);
	else if (!S_ISREG(about.st_mode))
		status = d2v_fail(err, D2V_CORRUPT, "%s: is not a file and so no shard", shard->path);
	else if (about.st_size == 0)
		status = d2v_fail(err, D2V_CORRUPT, "%s: is empty and so no shard", shard->path);
	if (status == D2V_OK) {
		shard->size = (uint64_t)about.st_size;
		void *file = mmap(NULL, shard->size, PROT_READ, MAP_SHARED, fd, 0);
		if (file == MAP_FAILED)
			status = d2v_fail_errno(err, "%s: cannot be mapped", shard->path);
		else
			shard->file = file;
	}
	close(fd);
	return status;
}

// Asks for all structure pages at once: they lie scattered between the records.
static void will_need_structure(const d2v_shard *shard) {
	const d2v_shard_trailer *trailer = &shard->trailer;
	for (uint64_t i = 0; i < trailer->structure_count; i++) {
		d2v_shard_extent range = trailer->extents[trailer->extent_count + i];
		madvise(shard->file + (size_t)range.page * trailer->page_size, (size_t)range.pages * trailer->page_size,
			MADV_WILLNEED);
	}
}

// The value of an extent that is no record, found through the directory.
static d2v_status value_of(
	d2v_shard *shard, uint64_t extent, const unsigned char **value, size_t *size, d2v_error *err) {
	return d2v_shard_trailer_value(shard->file, &shard->trailer, extent, true, value, size, err);
}

static bool zero_after(const unsigned char *value, size_t used, size_t size) {
	for (size_t i = used; i < size; i++)
		if (value[i])
			return false;
	return true;
}

// The meta's text inside the file, checked; the message does not name the file.
static d2v_status meta_text(d2v_shard *shard, const char **text, size_t *size, d2v_error *err) {
	const unsigned char *value;
	size_t room;
	uint64_t head[2]; // digest, size
	d2v_status status = value_of(shard, shard->trailer.extent_count - 1, &value, &room, err);
	if (status == D2V_OK) {
		memcpy(head, value, sizeof head);
		*text = (const char *)value + sizeof head;
		*size = head[1];
		if (head[1] > room - sizeof head || d2v_hash64(value + sizeof *head, sizeof *head + head[1]) != head[0] ||
			!zero_after(value, sizeof head + head[1], room))
			status = d2v_fail(err, D2V_CORRUPT, "its digest differs");
	}
	if (status != D2V_OK)
		d2v_error_prefix(err, "its meta");
	return status;
}

static d2v_status open_checked(d2v_shard *shard, d2v_error *err) {
	d2v_error damage = { 0 };
	D2V_TRY(map_file(shard, err));
	madvise(shard->file, shard->size, MADV_RANDOM);
	d2v_status status = d2v_shard_trailer_parse(shard->file, shard->size, &shard->trailer, &damage, err);
	if (status != D2V_OK) {
		d2v_error_prefix(err, "%s", shard->path);
		return status;
	}
	if (damage.status != D2V_OK)
		D2V_TRY(meet_damage(shard, &damage, err));
	will_need_structure(shard);
	if (d2v_shard_trailer_check_structure(shard->file, &shard->trailer, &damage) != D2V_OK) {
		shard->tables_damaged = true;
		D2V_TRY(meet_damage(shard, &damage, err));
	}
	const char *text;
	size_t size;
	if (meta_text(shard, &text, &size, &damage) != D2V_OK)
		return meet_damage(shard, &damage, err);
	return D2V_OK;
}

static d2v_status open_shard(d2v_shard **shard, const char *path, bool forgiving, d2v_error *err) {
	d2v_shard *made;
	*shard = NULL;
	D2V_TRY(d2v_alloc_zero(&made, 1, sizeof *made, err));
	made->forgiving = forgiving;
	pthread_mutex_init(&made->lock, NULL);
	d2v_status status = d2v_strdup(&made->path, path, err);
	if (status == D2V_OK)
		status = open_checked(made, err);
	if (status != D2V_OK) {
		d2v_shard_close(made);
		return status;
	}
	*shard = made;
	return D2V_OK;
}

d2v_status d2v_shard_open(d2v_shard **shard, const char *path, d2v_error *err) {
	return open_shard(shard, path, false, err);
}

d2v_status d2v_shard_open_damaged(d2v_shard **shard, const char *path, d2v_error *err) {
	return open_shard(shard, path, true, err);
}

void d2v_shard_close(d2v_shard *shard) {
	if (!shard)
		return;
	if (shard->env)
		mdb_env_close(shard->env);
	if (shard->file)
		munmap(shard->file, shard->size);
	pthread_mutex_destroy(&shard->lock);
	d2v_free(shard->path);
	d2v_free(shard);
}

const char *d2v_shard_damage(const d2v_shard *shard) {
	return shard->damage.status == D2V_OK ? NULL : shard->damage.text;
}

const char *d2v_shard_path(const d2v_shard *shard) {
	return shard->path;
}

uint64_t d2v_shard_records(const d2v_shard *shard) {
	return shard->trailer.facts.records;
}

d2v_shard_facts d2v_shard_facts_read(const d2v_shard *shard) {
	return shard->trailer.facts;
}

const struct d2v_shard_trailer *d2v_shard_trailer_of(const d2v_shard *shard) {
	return &shard->trailer;
}

const unsigned char *d2v_shard_bytes(const d2v_shard *shard) {
	return shard->file;
}

d2v_status d2v_shard_meta(d2v_shard *shard, json_t **meta, d2v_error *err) {
	const char *text = NULL;
	size_t size = 0;
	*meta = NULL;
	d2v_status status = meta_text(shard, &text, &size, err);
	if (status != D2V_OK) {
		d2v_error_prefix(err, "%s", shard->path);
		return status;
	}
	return size ? d2v_json_parse(text, size, shard->path, meta, err) : D2V_OK;
}

d2v_status d2v_shard_read_block(d2v_shard *shard, uint64_t block, d2v_index_row *rows, size_t count, d2v_error *err) {
	const unsigned char *value;
	size_t room, size = count * sizeof *rows;
	uint64_t digest;
	D2V_TRY(value_of(shard, d2v_shard_records(shard) + block, &value, &room, err));
	if (size > room - sizeof digest)
		return d2v_fail(err, D2V_CORRUPT, "is shorter than its rows");
	memcpy(&digest, value, sizeof digest);
	if (d2v_hash64(value + sizeof digest, size) != digest || !zero_after(value, sizeof digest + size, room))
		return d2v_fail(err, D2V_CORRUPT, "its digest differs");
	memcpy(rows, value + sizeof digest, size);
	return D2V_OK;
}

// What a row of the index would say, from the record's header alone. A damaged header gives a row without units.
static d2v_index_row row_from_record(d2v_shard *shard, uint64_t ordinal) {
	const unsigned char *value;
	size_t room, size;
	d2v_record record;
	if (d2v_shard_trailer_value(shard->file, &shard->trailer, ordinal, false, &value, &room, NULL) != D2V_OK ||
		d2v_record_parse(value, room, false, &record, NULL) != D2V_OK)
		return (d2v_index_row){ .label = D2V_RECORD_NO_LABEL };
	size = (size_t)((const unsigned char *)record.payload - value) + record.payload_size;
	return (d2v_index_row){ .units = record.units,
		.label = record.label,
		.size = (uint32_t)size,
		.codec = record.codec,
		.flags = record.flags };
}

d2v_status d2v_shard_read_rows(d2v_shard *shard, d2v_index_row *rows, d2v_error *err) {
	uint64_t records = d2v_shard_records(shard);
	for (uint64_t block = 0; block < d2v_shard_index_blocks(records); block++) {
		d2v_error damage = { 0 };
		uint64_t first = block * D2V_INDEX_BLOCK, left = records - first;
		size_t size = left < D2V_INDEX_BLOCK ? left : D2V_INDEX_BLOCK;
		if (d2v_shard_read_block(shard, block, rows + first, size, &damage) == D2V_OK)
			continue;
		d2v_error_prefix(&damage, "block %llu of its index", (unsigned long long)block);
		D2V_TRY(meet_damage(shard, &damage, err));
		for (size_t i = 0; i < size; i++)
			rows[first + i] = row_from_record(shard, first + i);
	}
	return D2V_OK;
}

d2v_status d2v_shard_read_index(d2v_shard *shard, d2v_index_row **rows, uint64_t *count, d2v_error *err) {
	d2v_index_row *made;
	*rows = NULL;
	*count = 0;
	D2V_TRY(d2v_alloc(&made, d2v_shard_records(shard), sizeof *made, err));
	d2v_status status = d2v_shard_read_rows(shard, made, err);
	if (status != D2V_OK) {
		d2v_free(made);
		return status;
	}
	*rows = made;
	*count = d2v_shard_records(shard);
	return D2V_OK;
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
		return fail_lmdb(shard, code, err);
	code = mdb_env_set_maxdbs(env, 4);
	if (!code)
		code = mdb_env_set_mapsize(env, shard->size);
	if (!code)
		code = mdb_env_open(env, shard->path, MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK | MDB_NOTLS | MDB_NORDAHEAD, 0666);
	if (!code)
		code = open_tables(shard, env);
	if (code) {
		mdb_env_close(env);
		return fail_lmdb(shard, code, err);
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
				status = fail_lmdb(shard, code, err);
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
		return fail_lmdb(view->shard, code, err);
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

static d2v_status walk_records(d2v_shard_view *view, MDB_cursor *cursor,
	void (*found)(void *context, uint64_t record, const char *what), void *context) {
	d2v_shard *shard = view->shard;
	MDB_val key, value;
	uint64_t expected = 0, records = d2v_shard_records(shard);
	int code;
	while ((code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
		uint64_t big_endian = htobe64(expected);
		d2v_shard_page head;
		if (expected >= records || key.mv_size != sizeof big_endian ||
			memcmp(key.mv_data, &big_endian, sizeof big_endian) != 0)
			break;
		size_t room = (size_t)shard->trailer.extents[expected].pages * shard->trailer.page_size - sizeof head;
		memcpy(&head, (const unsigned char *)value.mv_data - sizeof head, sizeof head);
		if (value.mv_size > room || head.number != shard->trailer.extents[expected].page)
			found(context, expected, "lies elsewhere than the directory says");
		expected++;
	}
	if (code != MDB_NOTFOUND || expected != records)
		found(context, expected, "the table of records does not hold every record in order");
	return D2V_OK;
}

static d2v_status walk_names(d2v_shard_view *view, MDB_cursor *cursor,
	void (*found)(void *context, uint64_t record, const char *what), void *context) {
	MDB_val key, value;
	uint64_t count = 0;
	while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
		uint64_t ordinal = UINT64_MAX;
		d2v_record record;
		if (value.mv_size == sizeof ordinal)
			memcpy(&ordinal, value.mv_data, sizeof ordinal);
		ordinal = be64toh(ordinal);
		if (ordinal >= d2v_shard_records(view->shard))
			found(context, UINT64_MAX, "the table of names names a record that is not there");
		else if (d2v_shard_read(view, ordinal, false, &record, NULL) == D2V_OK && // damaged ones are found elsewhere
				 (record.name_size != key.mv_size || memcmp(record.name, key.mv_data, key.mv_size) != 0))
			found(context, ordinal, "the table of names has it under another name");
		count++;
	}
	if (count != d2v_shard_records(view->shard))
		found(context, UINT64_MAX, "the table of names has not one name for each record");
	return D2V_OK;
}

d2v_status d2v_shard_check_tables(d2v_shard_view *view, void (*found)(void *context, uint64_t record, const char *what),
	void *context, d2v_error *err) {
	MDB_cursor *cursor;
	if (!view->txn)
		return D2V_OK; // what is damaged is not walked
	int code = mdb_cursor_open(view->txn, view->shard->records, &cursor);
	if (code)
		return fail_lmdb(view->shard, code, err);
	walk_records(view, cursor, found, context);
	mdb_cursor_close(cursor);
	code = mdb_cursor_open(view->txn, view->shard->names, &cursor);
	if (code)
		return fail_lmdb(view->shard, code, err);
	walk_names(view, cursor, found, context);
	mdb_cursor_close(cursor);
	return D2V_OK;
}
