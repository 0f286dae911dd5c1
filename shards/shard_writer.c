#include "shards/shard_writer.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/memory.h"
#include "shards/shard_index.h"
#include "shards/shard_names.h"
#include "shards/shard_trailer.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMMIT_BYTES ((size_t)4 << 20) // written records that wait in memory; where it falls shows in the file
#define MAP_FIRST ((size_t)64 << 20)
#define MAP_SLACK ((size_t)1 << 20)   // B-tree pages and free list of one transaction, generously
#define LOW_SPACE ((uint64_t)4 << 20) // below this a short write is taken for a full disk
#define META_MAP_SIZE_AT 32           // of mm_mapsize in each of the two meta pages

struct d2v_shard_writer {
	char *path, *temporary;
	MDB_env *env;
	MDB_txn *txn; // NULL between transactions
	MDB_dbi records, index, names_table, meta;
	uint32_t page_size;
	size_t map_size;
	size_t waiting; // bytes put since the last commit of LMDB
	bool failed;    // the environment is in an unknown state
	d2v_shard_names names;
	d2v_index_row *rows;
	size_t rows_capacity;
	d2v_shard_extent *extents; // of all that was put, in order
	size_t extent_count, extents_capacity;
	uint64_t bytes; // of records
	d2v_shard_facts facts;
};

// LMDB says "short write" as EIO, and a disk that has just become full gives short writes.
static d2v_status fail_lmdb(d2v_shard_writer *writer, int code, d2v_error *err) {
	uint64_t space;
	writer->failed = true;
	if (code == EIO && d2v_file_space_free(writer->path, &space, NULL) == D2V_OK && space < LOW_SPACE)
		code = ENOSPC;
	if (code > 0) {
		errno = code;
		return d2v_fail_errno(err, "%s: cannot be written", writer->temporary);
	}
	return d2v_fail(err, D2V_IO, "%s: cannot be written: %s", writer->temporary, mdb_strerror(code));
}

// The disk is to begin with what was written, so that little is left to wait for in the end. Nothing depends on it.
static void start_writing_back(const d2v_shard_writer *writer) {
	mdb_filehandle_t fd;
	if (mdb_env_get_fd(writer->env, &fd) == 0)
		(void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

static d2v_status commit_txn(d2v_shard_writer *writer, d2v_error *err) {
	MDB_txn *txn = writer->txn;
	writer->txn = NULL;
	writer->waiting = 0;
	if (d2v_file_must_fail()) {
		mdb_txn_abort(txn);
		return fail_lmdb(writer, errno, err);
	}
	int code = mdb_txn_commit(txn);
	if (code)
		return fail_lmdb(writer, code, err);
	start_writing_back(writer);
	return D2V_OK;
}

// A transaction that may write `size` bytes and what is still to fit in 4 MiB. Where transactions begin and end shows
// in the file, so this depends on what was put and on nothing else; the map, which grows between transactions, does not
// show.
static d2v_status need_txn(d2v_shard_writer *writer, size_t size, d2v_error *err) {
	MDB_envinfo about;
	if (writer->txn && writer->waiting && writer->waiting + size > COMMIT_BYTES)
		D2V_TRY(commit_txn(writer, err));
	if (writer->txn)
		return D2V_OK;
	int code = mdb_env_info(writer->env, &about);
	if (code)
		return fail_lmdb(writer, code, err);
	size_t need =
		(about.me_last_pgno + 1) * writer->page_size + (size > COMMIT_BYTES ? size : COMMIT_BYTES) + MAP_SLACK;
	if (need > writer->map_size) {
		while (writer->map_size < need)
			writer->map_size *= 2;
		code = mdb_env_set_mapsize(writer->env, writer->map_size);
	}
	if (!code)
		code = mdb_txn_begin(writer->env, NULL, 0, &writer->txn);
	return code ? fail_lmdb(writer, code, err) : D2V_OK;
}

static d2v_status open_tables(d2v_shard_writer *writer, d2v_error *err) {
	struct {
		const char *name;
		MDB_dbi *into;
	} tables[] = { { "records", &writer->records }, { "index", &writer->index }, { "names", &writer->names_table },
		{ "meta", &writer->meta } };
	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
		int code = mdb_dbi_open(writer->txn, tables[i].name, MDB_CREATE, tables[i].into);
		if (code)
			return fail_lmdb(writer, code, err);
	}
	return D2V_OK;
}

static d2v_status open_environment(d2v_shard_writer *writer, d2v_error *err) {
	MDB_stat about;
	int code = mdb_env_create(&writer->env);
	if (!code)
		code = mdb_env_set_maxdbs(writer->env, 4);
	if (!code)
		code = mdb_env_set_mapsize(writer->env, writer->map_size);
	// No WRITEMAP: a full disk then is an error code of a write and not a SIGBUS in the middle of a copy.
	if (!code)
		code = mdb_env_open(writer->env, writer->temporary, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC, 0666);
	if (!code)
		code = mdb_env_stat(writer->env, &about);
	if (code)
		return fail_lmdb(writer, code, err);
	writer->page_size = about.ms_psize;
	D2V_TRY(need_txn(writer, 0, err));
	D2V_TRY(open_tables(writer, err));
	return commit_txn(writer, err); // from here on every transaction begins with a value
}

d2v_status d2v_shard_writer_begin(d2v_shard_writer **writer, const char *path, uint64_t size_hint, d2v_error *err) {
	d2v_shard_writer *made;
	*writer = NULL;
	D2V_TRY(d2v_alloc_zero(&made, 1, sizeof *made, err));
	d2v_shard_names_init(&made->names);
	made->map_size = MAP_FIRST;
	while (made->map_size < size_hint && made->map_size < SIZE_MAX / 4)
		made->map_size *= 2;
	d2v_status status = d2v_strdup(&made->path, path, err);
	if (status == D2V_OK)
		status = d2v_asprintf(&made->temporary, err, "%s.tmp", path);
	if (status == D2V_OK)
		status = d2v_file_remove(made->temporary, err);
	if (status == D2V_OK)
		status = open_environment(made, err);
	if (status != D2V_OK) {
		d2v_shard_writer_abandon(made);
		return status;
	}
	*writer = made;
	return D2V_OK;
}

// Room for a value of `size` bytes under `key`, on pages of its own whatever its size: up to *room bytes may be written
// there, all are zero but the first `size`, which the caller fills.
static d2v_status put(
	d2v_shard_writer *writer, MDB_dbi table, MDB_val key, size_t size, unsigned char **at, d2v_error *err) {
	// LMDB keeps values of up to half a page among its tree's pages. Ours are never that small.
	size_t least = writer->page_size / 2, stored = size < least ? least : size;
	size_t pages = (stored + sizeof(d2v_shard_page) + writer->page_size - 1) / writer->page_size;
	d2v_shard_page head;
	MDB_val value = { .mv_size = stored };
	D2V_TRY(d2v_reserve(
		&writer->extents, &writer->extents_capacity, writer->extent_count + 1, sizeof *writer->extents, err));
	D2V_TRY(need_txn(writer, pages * writer->page_size, err));
	int code = mdb_put(writer->txn, table, &key, &value, MDB_APPEND | MDB_RESERVE);
	if (code)
		return fail_lmdb(writer, code, err);
	*at = value.mv_data;
	memcpy(&head, *at - sizeof head, sizeof head);
	D2V_ASSERT((head.flags & D2V_SHARD_PAGE_OVERFLOW) && head.pages == pages);
	memset(*at + size, 0, pages * writer->page_size - sizeof head - size);
	writer->waiting += pages * writer->page_size;
	writer->extents[writer->extent_count++] = (d2v_shard_extent){ .page = (uint32_t)head.number, .pages = head.pages };
	return D2V_OK;
}

static d2v_status put_numbered(
	d2v_shard_writer *writer, MDB_dbi table, uint64_t number, size_t size, unsigned char **at, d2v_error *err) {
	uint64_t big_endian = htobe64(number);
	return put(writer, table, (MDB_val){ sizeof big_endian, &big_endian }, size, at, err);
}

d2v_status d2v_shard_writer_append(d2v_shard_writer *writer, d2v_record *record, d2v_error *err) {
	size_t size;
	unsigned char *at = NULL;
	uint64_t ordinal = writer->facts.records;
	if (writer->failed)
		return d2v_fail(err, D2V_IO, "%s: an earlier write failed", writer->temporary);
	d2v_status status = d2v_record_size(record, &size, err);
	if (status == D2V_OK)
		status = d2v_shard_names_add(&writer->names, record->name, record->name_size, err);
	if (status != D2V_OK) {
		d2v_error_prefix(err, "%s: record %llu", writer->path, (unsigned long long)ordinal);
		return status;
	}
	status = d2v_reserve(&writer->rows, &writer->rows_capacity, ordinal + 1, sizeof *writer->rows, err);
	if (status == D2V_OK)
		status = put_numbered(writer, writer->records, ordinal, size, &at, err);
	if (status != D2V_OK) {
		d2v_shard_names_drop_last(&writer->names);
		return status;
	}
	d2v_record_encode(record, at);
	writer->rows[ordinal] = (d2v_index_row){ .units = record->units,
		.label = record->label,
		.size = (uint32_t)size,
		.codec = record->codec,
		.flags = record->flags };
	writer->facts.digest = d2v_hash64_chain(writer->facts.digest, record->digest);
	writer->facts.units += record->units;
	writer->facts.records++;
	writer->bytes += size;
	return D2V_OK;
}

uint64_t d2v_shard_writer_bytes(const d2v_shard_writer *writer) {
	return writer->bytes;
}

uint64_t d2v_shard_writer_records(const d2v_shard_writer *writer) {
	return writer->facts.records;
}

static d2v_status put_index(d2v_shard_writer *writer, d2v_error *err) {
	for (uint64_t block = 0; block < d2v_shard_index_blocks(writer->facts.records); block++) {
		uint64_t first = block * D2V_INDEX_BLOCK, left = writer->facts.records - first;
		size_t rows = left < D2V_INDEX_BLOCK ? left : D2V_INDEX_BLOCK, size = rows * sizeof *writer->rows;
		unsigned char *at = NULL;
		D2V_TRY(put_numbered(writer, writer->index, block, sizeof(uint64_t) + size, &at, err));
		uint64_t digest = d2v_hash64(writer->rows + first, size);
		memcpy(at, &digest, sizeof digest);
		memcpy(at + sizeof digest, writer->rows + first, size);
	}
	return D2V_OK;
}

static d2v_status put_names(d2v_shard_writer *writer, d2v_error *err) {
	d2v_shard_names *names = &writer->names;
	d2v_shard_names_sort(names);
	if (writer->txn)
		D2V_TRY(commit_txn(writer, err));
	D2V_TRY(need_txn(writer, 2 * (names->used + names->count * 64), err)); // twice: pages are at least half full
	for (size_t i = 0; i < names->count; i++) {
		uint64_t ordinal = htobe64(names->names[i].ordinal);
		MDB_val key = { names->names[i].size, names->bytes + names->names[i].offset };
		MDB_val value = { sizeof ordinal, &ordinal };
		int code = mdb_put(writer->txn, writer->names_table, &key, &value, MDB_APPEND);
		if (code)
			return fail_lmdb(writer, code, err);
	}
	return D2V_OK;
}

// digest of all that follows, bytes of text, text
static d2v_status put_meta(d2v_shard_writer *writer, const json_t *meta, d2v_error *err) {
	char *text = NULL, key[] = "json";
	unsigned char *at = NULL;
	uint64_t size = 0;
	if (meta)
		D2V_TRY(d2v_json_text(meta, &text, err));
	size = text ? strlen(text) : 0;
	d2v_status status = put(writer, writer->meta, (MDB_val){ sizeof key - 1, key }, 2 * sizeof size + size, &at, err);
	if (status == D2V_OK) {
		memcpy(at + sizeof size, &size, sizeof size);
		if (size)
			memcpy(at + 2 * sizeof size, text, size);
		uint64_t digest = d2v_hash64(at + sizeof size, sizeof size + size);
		memcpy(at, &digest, sizeof digest);
	}
	d2v_free(text);
	return status;
}

static d2v_status put_tables(d2v_shard_writer *writer, const json_t *meta, uint64_t *pages, d2v_error *err) {
	MDB_envinfo about;
	D2V_TRY(put_index(writer, err));
	D2V_TRY(put_meta(writer, meta, err));
	D2V_TRY(put_names(writer, err));
	D2V_TRY(commit_txn(writer, err));
	int code = mdb_env_info(writer->env, &about);
	if (code)
		return fail_lmdb(writer, code, err);
	*pages = about.me_last_pgno + 1;
	mdb_env_close(writer->env);
	writer->env = NULL;
	return D2V_OK;
}

static d2v_status write_at(int fd, const char *path, const void *bytes, size_t size, off_t at, d2v_error *err) {
	const unsigned char *from = bytes;
	while (size) {
		ssize_t done = d2v_file_must_fail() ? -1 : pwrite(fd, from, size, at);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return d2v_fail_errno(err, "%s: cannot be written", path);
		from += done;
		at += done;
		size -= (size_t)done;
	}
	return D2V_OK;
}

// What LMDB remembers of the map's size in this process must not show in the file: it becomes the size of its pages.
static d2v_status write_map_size(d2v_shard_writer *writer, int fd, uint64_t pages, d2v_error *err) {
	uint64_t map_size = pages * writer->page_size;
	for (off_t page = 0; page < 2; page++)
		D2V_TRY(write_at(fd, writer->temporary, &map_size, sizeof map_size,
			page * (off_t)writer->page_size + META_MAP_SIZE_AT, err));
	return D2V_OK;
}

static d2v_status write_trailer(d2v_shard_writer *writer, int fd, uint64_t pages, d2v_error *err) {
	void *bytes = NULL;
	size_t size, file_size = pages * writer->page_size;
	d2v_shard_trailer trailer = { .page_size = writer->page_size,
		.pages = pages,
		.facts = writer->facts,
		.extents = writer->extents,
		.extent_count = writer->extent_count };
	void *file = mmap(NULL, file_size, PROT_READ, MAP_SHARED, fd, 0);
	if (file == MAP_FAILED)
		return d2v_fail_errno(err, "%s: cannot be mapped", writer->temporary);
	madvise(file, file_size, MADV_SEQUENTIAL);
	d2v_status status = d2v_shard_trailer_build(file, &trailer, &bytes, &size, err);
	munmap(file, file_size);
	if (status == D2V_OK)
		status = write_at(fd, writer->temporary, bytes, size, (off_t)file_size, err);
	d2v_free(bytes);
	writer->facts = trailer.facts;
	return status;
}

// LMDB is done with the file: gives it its final length and its trailer.
static d2v_status complete(d2v_shard_writer *writer, uint64_t pages, d2v_error *err) {
	int fd = open(writer->temporary, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return d2v_fail_errno(err, "%s: cannot be opened again", writer->temporary);
	d2v_status status = D2V_OK;
	if (ftruncate(fd, (off_t)(pages * writer->page_size)) < 0)
		status = d2v_fail_errno(err, "%s: cannot be cut to its length", writer->temporary);
	if (status == D2V_OK)
		status = write_map_size(writer, fd, pages, err);
	if (status == D2V_OK)
		status = write_trailer(writer, fd, pages, err);
	close(fd);
	return status;
}

d2v_status d2v_shard_writer_commit(
	d2v_shard_writer *writer, const json_t *meta, d2v_shard_facts *facts, d2v_error *err) {
	uint64_t pages = 0;
	d2v_status status = D2V_OK;
	if (writer->failed)
		status = d2v_fail(err, D2V_IO, "%s: an earlier write failed", writer->temporary);
	if (status == D2V_OK)
		status = put_tables(writer, meta, &pages, err);
	if (status == D2V_OK)
		status = complete(writer, pages, err);
	if (status == D2V_OK)
		status = d2v_file_sync(writer->temporary, err);
	if (status == D2V_OK)
		status = d2v_file_publish(writer->temporary, writer->path, err);
	if (status == D2V_OK && facts)
		*facts = writer->facts;
	d2v_shard_writer_abandon(writer);
	return status;
}

void d2v_shard_writer_abandon(d2v_shard_writer *writer) {
	if (!writer)
		return;
	if (writer->txn)
		mdb_txn_abort(writer->txn);
	if (writer->env)
		mdb_env_close(writer->env);
	if (writer->temporary)
		unlink(writer->temporary); // not there any more when it was published
	d2v_shard_names_release(&writer->names);
	d2v_free(writer->rows);
	d2v_free(writer->extents);
	d2v_free(writer->path);
	d2v_free(writer->temporary);
	d2v_free(writer);
}
