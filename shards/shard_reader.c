#include "shards/shard_reader_internal.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/memory.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

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
