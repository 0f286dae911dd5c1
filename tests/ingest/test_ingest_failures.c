// Every allocation, write and fsync of an ingest fails once: it says so, leaks nothing, publishes no data set, and the
// same command afterwards gives the bytes of an ingest that nothing befell.
#include "tests/base/scratch.h"

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "ingest/ingest.h"
#include "shards/codec_audio.h"
#include "shards/verify.h"

#include <stdio.h>
#include <string.h>

#define UTTERANCES 6
#define SAMPLES 14000

static void write_utterance(const char *folder, int number) {
	char path[SCRATCH_PATH + 64];
	int16_t samples[SAMPLES];
	void *bytes;
	size_t size;
	d2v_error err = { 0 };
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(1, D2V_RANDOM_RETRY, (uint64_t)number, 0));
	for (int i = 0; i < SAMPLES; i++)
		samples[i] = (int16_t)(20000 * (d2v_random_unit(&random) - 0.5));
	assert_ok(d2v_codec_wav_encode(samples, SAMPLES - (uint64_t)number, 16000, &bytes, &size, &err));
	snprintf(path, sizeof path, "%s/1-2-%04d.wav", folder, number);
	assert_ok(d2v_file_replace(path, bytes, number == 3 ? 100 : size, &err)); // the fourth is cut off
	d2v_free(bytes);
}

static void write_corpus(const char *root) {
	static const char texts[] = "1-2-0000 ONE\n1-2-0001 TWO\n1-2-0002 THREE\n1-2-0004 FIVE\n1-2-0005 SIX\n";
	char folder[SCRATCH_PATH + 32], path[SCRATCH_PATH + 64];
	d2v_error err = { 0 };
	snprintf(folder, sizeof folder, "%s/dev/1/2", root);
	assert_ok(d2v_file_make_directories(folder, &err));
	for (int i = 0; i < UTTERANCES; i++)
		write_utterance(folder, i);
	snprintf(path, sizeof path, "%s/1-2.trans.txt", folder);
	assert_ok(d2v_file_replace(path, texts, strlen(texts), &err));
}

static d2v_status ingest(
	const char *from, const char *out, d2v_codec store, d2v_ingest_result *result, d2v_error *err) {
	d2v_ingest_source source = { .where = from };
	d2v_ingest_options options = D2V_INGEST_DEFAULTS;
	options.out = out;
	options.layout = &d2v_layout_librispeech;
	options.sources = &source;
	options.source_count = 1;
	options.store = store;
	options.shard_size = 65536; // two or three utterances
	options.max_rejected = 1;
	options.max_rejected_is_percent = false;
	options.quiet = true;
	return d2v_ingest_run(&options, result, err);
}

// One failure of the n-th kind; true: n was beyond the last.
static bool fail_at(
	void **state, long n, void (*fail_after)(long), d2v_status expected, d2v_codec store, uint64_t digest) {
	char out[SCRATCH_PATH], from[SCRATCH_PATH];
	d2v_error err = { 0 };
	d2v_ingest_result result;
	snprintf(out, sizeof out, "%s", scratch_path(state, "out"));
	snprintf(from, sizeof from, "%s", scratch_path(state, "corpus"));
	assert_ok(d2v_file_remove_tree(out, &err));
	long live = d2v_memory_live();
	fail_after(n);
	d2v_status status = ingest(from, out, store, &result, &err);
	fail_after(-1);
	if (d2v_memory_live() != live)
		fail_msg("failure %ld: %ld blocks were not freed", n, d2v_memory_live() - live);
	if (status == D2V_OK) {
		assert_int_equal(result.digest, digest);
		return true;
	}
	if (status != expected)
		fail_msg("failure %ld: %s: %s", n, d2v_status_name(status), err.text);
	assert_true(err.text[0]);
	// The last write of all is that of the manifest's folder: it may be there, but then it is whole.
	assert_ok(ingest(from, out, store, &result, &err));
	assert_int_equal(result.digest, digest);
	assert_int_equal(result.records, UTTERANCES - 1);
	assert_int_equal(result.rejected, 1);
	assert_ok(d2v_verify_dataset(out, &(d2v_verify_options){ .decode = true }, &(d2v_verify_result){ 0 }, &err));
	return false;
}

static void walk(void **state, void (*fail_after)(long), d2v_status expected, d2v_codec store) {
	d2v_error err = { 0 };
	d2v_ingest_result result;
	char out[SCRATCH_PATH];
	long n = 0;
	d2v_log_set_level(D2V_LOG_ERROR);
	write_corpus(scratch_path(state, "corpus"));
	snprintf(out, sizeof out, "%s", scratch_path(state, "whole"));
	assert_ok(ingest(scratch_path(state, "corpus"), out, store, &result, &err));
	assert_true(result.shards >= 2);
	while (!fail_at(state, n, fail_after, expected, store, result.digest))
		n += 1 + n / 64;
	assert_true(n > 10); // the harness can fail
	print_message("# %ld places\n", n);
}

static void test_every_allocation(void **state) {
	walk(state, d2v_memory_fail_after, D2V_NO_MEMORY, D2V_CODEC_PCM16);
}

static void test_every_allocation_of_flac(void **state) {
	walk(state, d2v_memory_fail_after, D2V_NO_MEMORY, D2V_CODEC_FLAC);
}

static void test_every_write(void **state) {
	walk(state, d2v_file_fail_after, D2V_NO_SPACE, D2V_CODEC_PCM16);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_every_allocation, scratch_set_up, scratch_tear_down),
		cmocka_unit_test_setup_teardown(test_every_allocation_of_flac, scratch_set_up, scratch_tear_down),
		cmocka_unit_test_setup_teardown(test_every_write, scratch_set_up, scratch_tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
