// Every allocation and write of an ingest of text fails once, from the tokenizer's files to the manifest: it says so,
// leaks nothing, publishes no data set, and the same command afterwards gives the bytes of an ingest that nothing
// befell.
#include "tests/base/scratch.h"

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "ingest/ingest.h"
#include "ingest/text_check.h"
#include "ingest/tokenizer.h"
#include "shards/manifest.h"

#include <stdio.h>
#include <string.h>

static d2v_error err;

// Every byte is a token, and there are no merges.
static void write_tokenizer(const char *folder) {
	char path[SCRATCH_PATH + 32], name[3];
	json_t *ids = json_object();
	for (unsigned byte = 0, moved = 0; byte < 256; byte++) {
		bool itself = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
		unsigned code = itself ? byte : 256 + moved++;
		snprintf(name, sizeof name, "%c%c", code < 0x80 ? (char)code : (char)(0xC0 | code >> 6),
			code < 0x80 ? '\0' : (char)(0x80 | (code & 0x3F)));
		assert_int_equal(json_object_set_new(ids, name, json_integer(byte)), 0);
	}
	assert_ok(d2v_file_make_directories(folder, &err));
	snprintf(path, sizeof path, "%s/encoder.json", folder);
	assert_ok(d2v_json_save(ids, path, &err));
	json_decref(ids);
	snprintf(path, sizeof path, "%s/vocab.bpe", folder);
	assert_ok(d2v_file_replace(path, "#version: 0.2\n", 14, &err));
}

static void write_text(const char *folder, const char *name, const char *text, size_t size) {
	char path[SCRATCH_PATH + 32];
	assert_ok(d2v_file_make_directories(folder, &err));
	snprintf(path, sizeof path, "%s/%s", folder, name);
	assert_ok(d2v_file_replace(path, text, size, &err));
}

// Enough tokens that there are several shards; JSON lines, one of them bad; a damaged packed file.
static void write_corpus(const char *folder) {
	static char large[200000];
	static const char lines[] = "{\"text\": \"one\\ntwo\"}\nbad\n{\"text\": \"\"}\n{\"text\": \"three\"}\n";
	for (size_t i = 0; i < sizeof large; i++)
		large[i] = i % 61 == 60 ? '\n' : i % 7 ? 'w' : ' ';
	write_text(folder, "a.txt", large, sizeof large);
	write_text(folder, "b.jsonl", lines, sizeof lines - 1);
	write_text(folder, "c.txt.gz", "\x1f\x8b\x08\0no", 6);
	write_text(folder, "dev.txt", "held out", 8);
}

static d2v_status ingest(const char *from, const char *bpe, const char *out, bool check, d2v_ingest_result *result) {
	d2v_ingest_source source = { .where = from };
	d2v_ingest_options options = D2V_INGEST_DEFAULTS;
	d2v_tokenizer *tokenizer;
	d2v_text_check_result checked;
	D2V_TRY(d2v_tokenizer_open(&tokenizer, bpe, "", NULL, out, &options.download, &err));
	options.out = out;
	options.layout = &d2v_layout_text;
	options.places.texts = false;
	options.places.field = "text";
	options.places.valid = "dev*";
	options.tokenizer = tokenizer;
	options.store = d2v_tokenizer_codec(tokenizer);
	options.sources = &source;
	options.source_count = 1;
	options.shard_size = 1 << 17;
	options.max_rejected = 2;
	options.max_rejected_is_percent = false;
	options.quiet = true;
	d2v_status status = d2v_ingest_run(&options, result, &err);
	if (status == D2V_OK && check)
		status = d2v_text_check(&options, &checked, &err);
	d2v_tokenizer_close(tokenizer);
	return status;
}

typedef struct walk {
	char from[SCRATCH_PATH], bpe[SCRATCH_PATH], out[SCRATCH_PATH];
	d2v_ingest_result whole;
} walk;

// One failure of the n-th kind; true: n was beyond the last.
static bool fail_at(walk *w, long n, void (*fail_after)(long), d2v_status expected) {
	d2v_ingest_result result;
	assert_ok(d2v_file_remove_tree(w->out, &err));
	err = (d2v_error){ 0 };
	long live = d2v_memory_live();
	fail_after(n);
	d2v_status status = ingest(w->from, w->bpe, w->out, true, &result);
	fail_after(-1);
	if (d2v_memory_live() != live)
		fail_msg("failure %ld: %ld blocks were not freed", n, d2v_memory_live() - live);
	if (status == D2V_OK) {
		assert_int_equal(result.digest, w->whole.digest);
		return true;
	}
	if (status != expected)
		fail_msg("failure %ld: %s: %s", n, d2v_status_name(status), err.text);
	assert_true(err.text[0]);
	assert_ok(ingest(w->from, w->bpe, w->out, false, &result));
	assert_int_equal(result.digest, w->whole.digest);
	assert_int_equal(result.documents, 4);
	assert_int_equal(result.rejected, 2);
	return false;
}

static void walk_all(void **state, void (*fail_after)(long), d2v_status expected) {
	walk w;
	long n = 0;
	d2v_log_set_level(D2V_LOG_ERROR);
	snprintf(w.from, sizeof w.from, "%s", scratch_path(state, "texts"));
	snprintf(w.bpe, sizeof w.bpe, "%s", scratch_path(state, "bpe"));
	snprintf(w.out, sizeof w.out, "%s", scratch_path(state, "out"));
	write_corpus(w.from);
	write_tokenizer(w.bpe);
	assert_ok(ingest(w.from, w.bpe, w.out, true, &w.whole));
	assert_int_equal(w.whole.documents, 4);
	assert_int_equal(w.whole.empty, 1);
	assert_true(w.whole.shards >= 3);
	while (!fail_at(&w, n, fail_after, expected))
		n += 1 + n / 5;
	assert_true(n > 10); // the harness can fail
	print_message("# up to place %ld\n", n);
}

static void test_every_allocation(void **state) {
	walk_all(state, d2v_memory_fail_after, D2V_NO_MEMORY);
}

static void test_every_write(void **state) {
	walk_all(state, d2v_file_fail_after, D2V_NO_SPACE);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_every_allocation, scratch_set_up, scratch_tear_down),
		cmocka_unit_test_setup_teardown(test_every_write, scratch_set_up, scratch_tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
