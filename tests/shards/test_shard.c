// One shard: what was written is read, the same content gives the same bytes, and a writer that fails leaves nothing.
#include "tests/shards/shard_fixture.h"

#include "base/file.h"
#include "base/memory.h"
#include "shards/shard_reader.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void check_shard(const char *path, uint64_t first, uint64_t count) {
	d2v_error err = { 0 };
	d2v_shard *shard;
	d2v_shard_view *view;
	d2v_index_row *rows;
	uint64_t row_count, ordinal;
	json_t *meta;
	assert_ok(d2v_shard_open(&shard, path, &err));
	assert_null(d2v_shard_damage(shard));
	assert_int_equal(d2v_shard_records(shard), count);
	assert_ok(d2v_shard_meta(shard, &meta, &err));
	assert_int_equal(json_integer_value(json_object_get(meta, "first")), first);
	json_decref(meta);
	assert_ok(d2v_shard_read_index(shard, &rows, &row_count, &err));
	assert_int_equal(row_count, count);
	assert_ok(d2v_shard_view_new(&view, shard, &err));
	for (uint64_t i = 0; i < count; i++) {
		d2v_record record;
		char name[D2V_RECORD_NAME_MAX + 1];
		d2v_shard_will_need(view, i);
		assert_ok(d2v_shard_read(view, i, true, &record, &err));
		assert_true(fixture_is(&record, first + i));
		assert_int_equal((uintptr_t)record.payload % D2V_RECORD_ALIGN, 0);
		assert_int_equal(rows[i].units, record.units);
		assert_int_equal(rows[i].label, record.label);
		snprintf(name, sizeof name, "%.*s", (int)record.name_size, record.name);
		assert_ok(d2v_shard_find(view, name, &ordinal, &err));
		assert_int_equal(ordinal, i);
	}
	assert_int_equal(d2v_shard_find(view, "nobody", &ordinal, NULL), D2V_NOT_FOUND);
	assert_int_equal(d2v_shard_find(view, "", &ordinal, NULL), D2V_NOT_FOUND);
	d2v_record record;
	assert_int_equal(d2v_shard_read(view, count, true, &record, NULL), D2V_NOT_FOUND);
	assert_int_equal(d2v_shard_read(view, UINT64_MAX, true, &record, NULL), D2V_NOT_FOUND);
	d2v_shard_will_need(view, UINT64_MAX);
	d2v_free(rows);
	d2v_shard_view_free(view);
	d2v_shard_close(shard);
}

static void test_round_trip(void **state) {
	static const uint64_t counts[] = { 0, 1, 2, 83, 84, 85, 1000, 4095, 4096, 4097, 5000 };
	for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
		d2v_shard_facts facts;
		long live = d2v_memory_live();
		const char *path = scratch_path(state, "a.mdb");
		fixture_shard(path, 3, counts[i], &facts);
		assert_int_equal(facts.records, counts[i]);
		check_shard(path, 3, counts[i]);
		assert_int_equal(d2v_memory_live(), live);
	}
}

// Larger than what waits for one transaction of LMDB, larger than the first map.
static void test_large_records(void **state) {
	d2v_error err = { 0 };
	d2v_shard_writer *writer;
	d2v_shard *shard;
	d2v_shard_view *view;
	size_t size = (size_t)30 << 20;
	char *payload, name[16];
	const char *path = scratch_path(state, "large.mdb");
	assert_ok(d2v_alloc(&payload, size, 1, &err));
	for (size_t i = 0; i < size; i++)
		payload[i] = (char)(i * 2654435761u >> 13);
	assert_ok(d2v_shard_writer_begin(&writer, path, 0, &err));
	for (int i = 0; i < 4; i++) {
		d2v_record record = { .codec = D2V_CODEC_JPEG,
			.name = name,
			.name_size = (uint32_t)snprintf(name, sizeof name, "%d", i),
			.payload = payload + i,
			.payload_size = size - 4 - (size_t)i };
		assert_ok(d2v_shard_writer_append(writer, &record, &err));
	}
	assert_true(d2v_shard_writer_bytes(writer) > 4 * (size - 100));
	assert_ok(d2v_shard_writer_commit(writer, NULL, NULL, &err));
	assert_ok(d2v_shard_open(&shard, path, &err));
	assert_ok(d2v_shard_view_new(&view, shard, &err));
	for (int i = 0; i < 4; i++) {
		d2v_record record;
		assert_ok(d2v_shard_read(view, (uint64_t)i, true, &record, &err));
		assert_int_equal(record.payload_size, size - 4 - (size_t)i);
		assert_true(memcmp(record.payload, payload + i, record.payload_size) == 0);
	}
	json_t *meta;
	assert_ok(d2v_shard_meta(shard, &meta, &err));
	assert_null(meta);
	d2v_shard_view_free(view);
	d2v_shard_close(shard);
	d2v_free(payload);
}

// In a process of its own whose heap is full of `fill`.
static void write_in_child(const char *path, int fill, uint64_t hint, uint64_t count) {
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		enum { BLOCKS = 400 };
		void *blocks[BLOCKS];
		for (int i = 0; i < BLOCKS; i++) {
			size_t size = (size_t)(1 + i % 9) * 4096 + 64;
			blocks[i] = malloc(size);
			memset(blocks[i], fill, size);
		}
		for (int i = 0; i < BLOCKS; i++)
			free(blocks[i]);
		d2v_shard_writer *writer;
		bool good = d2v_shard_writer_begin(&writer, path, hint, NULL) == D2V_OK;
		for (uint64_t i = 0; i < count && good; i++) {
			d2v_record record;
			fixture_record(i, &record);
			good = d2v_shard_writer_append(writer, &record, NULL) == D2V_OK;
		}
		_exit(good && d2v_shard_writer_commit(writer, NULL, NULL, NULL) == D2V_OK ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void test_same_content_same_bytes(void **state) {
	static const uint64_t counts[] = { 1, 40, 9000 };
	for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
		d2v_error err = { 0 };
		void *first, *second;
		size_t first_size, second_size;
		const char *a = scratch_path(state, "a.mdb"), *b = scratch_path(state, "b.mdb");
		write_in_child(a, 0x11, 0, counts[i]);
		write_in_child(b, 0xEE, (uint64_t)3 << 30, counts[i]);
		assert_ok(d2v_file_read(a, (size_t)1 << 30, &first, &first_size, &err));
		assert_ok(d2v_file_read(b, (size_t)1 << 30, &second, &second_size, &err));
		assert_int_equal(first_size, second_size);
		assert_true(memcmp(first, second, first_size) == 0);
		d2v_free(first);
		d2v_free(second);
	}
}

static void test_a_refused_record_changes_nothing(void **state) {
	d2v_error err = { 0 };
	d2v_shard_writer *writer;
	d2v_record record, other;
	const char *plain = scratch_path(state, "plain.mdb"), *path = scratch_path(state, "refused.mdb");
	d2v_shard_facts wanted, facts;
	json_t *meta = json_pack("{s:i}", "first", 0);
	fixture_shard(plain, 0, 10, &wanted);
	assert_ok(d2v_shard_writer_begin(&writer, path, 0, &err));
	for (uint64_t i = 0; i < 10; i++) {
		fixture_record(i, &record);
		assert_ok(d2v_shard_writer_append(writer, &record, &err));
		assert_int_equal(d2v_shard_writer_append(writer, &record, &err), D2V_EXISTS);
		assert_non_null(strstr(err.text, "refused.mdb"));
		other = record, other.name_size = 0;
		assert_int_equal(d2v_shard_writer_append(writer, &other, NULL), D2V_INVALID);
	}
	assert_int_equal(d2v_shard_writer_records(writer), 10);
	assert_ok(d2v_shard_writer_commit(writer, meta, &facts, &err));
	json_decref(meta);
	assert_memory_equal(&facts, &wanted, sizeof facts);
}

static size_t count_files(void **state) {
	d2v_error err = { 0 };
	char **names;
	size_t count;
	assert_ok(d2v_file_list(*state, &names, &count, &err));
	d2v_file_names_free(names, count);
	return count;
}

static void test_abandon_leaves_nothing(void **state) {
	d2v_error err = { 0 };
	d2v_shard_writer *writer;
	d2v_record record;
	assert_ok(d2v_shard_writer_begin(&writer, scratch_path(state, "a.mdb"), 0, &err));
	fixture_record(0, &record);
	assert_ok(d2v_shard_writer_append(writer, &record, &err));
	d2v_shard_writer_abandon(writer);
	d2v_shard_writer_abandon(NULL);
	assert_int_equal(count_files(state), 0);
	assert_int_equal(
		d2v_shard_writer_begin(&writer, scratch_path(state, "no/such/folder.mdb"), 0, &err), D2V_NOT_FOUND);
	assert_null(writer);
}

static d2v_status write_some(const char *path) {
	d2v_shard_writer *writer;
	d2v_status status = d2v_shard_writer_begin(&writer, path, 0, NULL);
	if (status != D2V_OK)
		return status;
	for (uint64_t i = 0; i < 30; i++) {
		d2v_record record;
		fixture_record(i, &record);
		status = d2v_shard_writer_append(writer, &record, NULL);
		if (status != D2V_OK) {
			d2v_shard_writer_abandon(writer);
			return status;
		}
	}
	json_t *meta = json_pack("{s:i}", "first", 0);
	status = meta ? d2v_shard_writer_commit(writer, meta, NULL, NULL) : D2V_NO_MEMORY;
	if (!meta)
		d2v_shard_writer_abandon(writer);
	json_decref(meta);
	return status;
}

static void walk_failures(void **state, void (*fail_after)(long), d2v_status expected) {
	long live = d2v_memory_live();
	const char *path = scratch_path(state, "walk.mdb");
	d2v_status status = expected;
	long n = 0;
	for (; status != D2V_OK; n++) {
		assert_true(n < 2000);
		fail_after(n);
		status = write_some(path);
		fail_after(-1);
		assert_int_equal(d2v_memory_live(), live);
		if (status != D2V_OK)
			assert_int_equal(status, expected);
		if (d2v_file_exists(path)) { // only the folder's fsync may fail after it is published
			check_shard(path, 0, 30);
			assert_int_equal(d2v_file_remove(path, NULL), D2V_OK);
		}
		assert_int_equal(count_files(state), 0);
	}
	assert_true(n > 4);
}

static void test_write_walk(void **state) {
	walk_failures(state, d2v_file_fail_after, D2V_NO_SPACE);
}

static void test_memory_walk(void **state) {
	walk_failures(state, d2v_memory_fail_after, D2V_NO_MEMORY);
}

static void test_reader_memory_walk(void **state) {
	const char *path = scratch_path(state, "a.mdb");
	long live = d2v_memory_live();
	d2v_status status = D2V_NO_MEMORY;
	fixture_shard(path, 0, 20, NULL);
	for (long n = 0; status != D2V_OK; n++) {
		d2v_shard *shard = NULL;
		d2v_shard_view *view = NULL;
		d2v_index_row *rows = NULL;
		json_t *meta = NULL;
		uint64_t count;
		d2v_memory_fail_after(n);
		status = d2v_shard_open(&shard, path, NULL);
		if (status == D2V_OK)
			status = d2v_shard_read_index(shard, &rows, &count, NULL);
		if (status == D2V_OK)
			status = d2v_shard_meta(shard, &meta, NULL);
		if (status == D2V_OK)
			status = d2v_shard_view_new(&view, shard, NULL);
		d2v_memory_fail_after(-1);
		assert_true(status == D2V_OK || status == D2V_NO_MEMORY);
		json_decref(meta);
		d2v_free(rows);
		d2v_shard_view_free(view);
		d2v_shard_close(shard);
		assert_int_equal(d2v_memory_live(), live);
	}
}

static void test_a_killed_writer_publishes_nothing(void **state) {
	const char *path = scratch_path(state, "killed.mdb");
	for (int round = 0; round < 8; round++) {
		int ready[2];
		char byte;
		assert_int_equal(pipe(ready), 0);
		pid_t child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			d2v_shard_writer *writer;
			if (d2v_shard_writer_begin(&writer, path, 0, NULL) != D2V_OK)
				_exit(1);
			for (uint64_t i = 0; i < 40000; i++) { // until killed: a late killer finds no full disk
				d2v_record record;
				char name[32];
				fixture_record(i % 100, &record);
				record.name = name;
				record.name_size = (uint32_t)snprintf(name, sizeof name, "%llu", (unsigned long long)i);
				if (d2v_shard_writer_append(writer, &record, NULL) != D2V_OK)
					_exit(1);
				if (i == (uint64_t)round * 1500 && write(ready[1], "x", 1) != 1)
					_exit(1);
			}
			for (;;)
				pause();
		}
		assert_int_equal(read(ready[0], &byte, 1), 1);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		close(ready[0]);
		close(ready[1]);
		assert_false(d2v_file_exists(path));
	}
	fixture_shard(path, 0, 5, NULL); // over what is left of the dead
	check_shard(path, 0, 5);
	assert_int_equal(count_files(state), 1);
}

#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_set_up, scratch_tear_down)

int main(void) {
	const struct CMUnitTest tests[] = {
		IN_SCRATCH(test_round_trip),
		IN_SCRATCH(test_large_records),
		IN_SCRATCH(test_same_content_same_bytes),
		IN_SCRATCH(test_a_refused_record_changes_nothing),
		IN_SCRATCH(test_abandon_leaves_nothing),
		IN_SCRATCH(test_write_walk),
		IN_SCRATCH(test_memory_walk),
		IN_SCRATCH(test_reader_memory_walk),
		IN_SCRATCH(test_a_killed_writer_publishes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
