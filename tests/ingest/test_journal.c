// The journal: what was written is read, and what was damaged is refused in words instead of gone on from.
#include "tests/base/scratch.h"

#include "base/file.h"
#include "base/memory.h"
#include "ingest/journal.h"

#include <stdio.h>
#include <string.h>

static void fill(d2v_journal *journal) {
	d2v_error err = { 0 };
	d2v_journal_split *split;
	d2v_journal_init(journal);
	journal->options = json_pack("{s:s}", "layout", "librispeech");
	assert_ok(d2v_journal_split_of(journal, "dev-clean", &split, &err));
	for (uint64_t i = 0; i < 3; i++)
		assert_ok(d2v_journal_add_shard(split,
			&(d2v_shard_facts){ .records = 10 + i,
				.bytes = (uint64_t)1 << (30 + i),
				.units = 99 * i,
				.digest = UINT64_MAX - i,
				.file_digest = i },
			&err));
	split->now = (d2v_journal_point){
		.source = 1, .member = 77, .shards = 3, .rejected = 2, .rejected_bytes = 120, .without_text = 5
	};
	split->base = (d2v_journal_point){ .source = 1, .shards = 2, .rejected = 1, .rejected_bytes = 60 };
	assert_ok(d2v_journal_split_of(journal, "", &split, &err));
	assert_ok(d2v_journal_add_source(journal, "sha256:0011", 123456789012, &err));
}

static void test_round_trip(void **state) {
	d2v_journal wrote, got;
	d2v_error err = { 0 };
	const char *path = scratch_path(state, "journal.json");
	fill(&wrote);
	assert_ok(d2v_journal_save(&wrote, path, &err));
	d2v_journal_init(&got);
	assert_ok(d2v_journal_load(&got, path, &err));
	assert_int_equal(got.split_count, 2);
	assert_string_equal(got.splits[0].name, "dev-clean");
	assert_memory_equal(&got.splits[0].now, &wrote.splits[0].now, sizeof got.splits[0].now);
	assert_memory_equal(&got.splits[0].base, &wrote.splits[0].base, sizeof got.splits[0].base);
	assert_memory_equal(got.splits[0].shards, wrote.splits[0].shards, 3 * sizeof *got.splits[0].shards);
	assert_int_equal(got.source_count, 1);
	assert_string_equal(got.sources[0].checksum, "sha256:0011");
	assert_int_equal(got.sources[0].bytes, 123456789012);
	assert_true(json_equal(got.options, wrote.options));
	d2v_journal_release(&got);
	d2v_journal_release(&wrote);
}

static void test_not_there(void **state) {
	d2v_journal journal;
	d2v_error err = { 0 };
	d2v_journal_init(&journal);
	assert_int_equal(d2v_journal_load(&journal, scratch_path(state, "none"), &err), D2V_NOT_FOUND);
}

// Cut off anywhere, or with another number of shards than it lists: refused, nothing leaks.
static void test_damaged(void **state) {
	d2v_journal journal;
	d2v_error err = { 0 };
	void *bytes;
	size_t size;
	const char *path = scratch_path(state, "journal.json");
	fill(&journal);
	assert_ok(d2v_journal_save(&journal, path, &err));
	journal.splits[0].base.shards = 4;
	assert_ok(d2v_journal_save(&journal, scratch_path(state, "contradicts.json"), &err));
	d2v_journal_release(&journal);
	assert_ok(d2v_file_read(path, 1 << 20, &bytes, &size, &err));
	long live = d2v_memory_live();
	while (size && ((char *)bytes)[size - 1] != '}')
		size--;
	for (size_t cut = 0; cut < size; cut += 7) {
		assert_ok(d2v_file_replace(path, bytes, cut, &err));
		assert_int_not_equal(d2v_journal_load(&journal, path, &err), D2V_OK);
		assert_non_null(strstr(err.text, "journal.json"));
		assert_int_equal(d2v_memory_live(), live);
	}
	assert_int_equal(d2v_journal_load(&journal, scratch_path(state, "contradicts.json"), &err), D2V_CORRUPT);
	d2v_free(bytes);
}

static void test_too_many_splits(void **state) {
	(void)state;
	d2v_journal journal;
	d2v_error err = { 0 };
	d2v_journal_split *split, *again;
	char name[32];
	d2v_journal_init(&journal);
	for (int i = 0; i < D2V_JOURNAL_SPLITS_MAX; i++) {
		snprintf(name, sizeof name, "split-%d", i);
		assert_ok(d2v_journal_split_of(&journal, name, &split, &err));
		assert_ok(d2v_journal_split_of(&journal, name, &again, &err));
		assert_ptr_equal(split, again);
	}
	assert_int_equal(d2v_journal_split_of(&journal, "one more", &split, &err), D2V_UNSAFE);
	d2v_journal_release(&journal);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_round_trip, scratch_set_up, scratch_tear_down),
		cmocka_unit_test_setup_teardown(test_not_there, scratch_set_up, scratch_tear_down),
		cmocka_unit_test_setup_teardown(test_damaged, scratch_set_up, scratch_tear_down),
		cmocka_unit_test(test_too_many_splits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
