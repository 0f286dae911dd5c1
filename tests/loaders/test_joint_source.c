// Several sources as one: who comes how often, whole updates of one source, going on from any place, two out at a time.
#include "base/memory.h"
#include "loaders/joint_source.h"
#include "loaders/recorded_source.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

// Batch b of source s holds the number 100 s + b.
static d2v_source *open_recorded(int s, int batches) {
	d2v_source *source;
	assert_int_equal(d2v_recorded_source_open(&source, NULL, NULL), D2V_OK);
	for (int b = 0; b < batches; b++) {
		float wave[2] = { (float)(100 * s + b), 0 };
		d2v_recorded given = {
			.modality = D2V_AUDIO, .samples = 1, .clones = 1, .tokens = 1, .length = 2, .wave = wave
		};
		assert_int_equal(d2v_recorded_source_add(source, &given, NULL), D2V_OK);
	}
	return source;
}

#define SOURCES 3
static const int batches_of[SOURCES] = { 4, 10, 6 };

static d2v_joint_options some_options(void) {
	d2v_joint_options options = { .count = SOURCES, .seed = 3, .imitated_world_size = 2 };
	for (int s = 0; s < SOURCES; s++)
		options.sources[s] = open_recorded(s, batches_of[s]);
	return options;
}

static d2v_source *open_joint(const double *shares, uint64_t seed) {
	d2v_joint_options options = some_options();
	d2v_source *source;
	d2v_error err;
	options.seed = seed;
	for (int s = 0; shares && s < SOURCES; s++)
		options.shares[s] = shares[s];
	assert_int_equal(d2v_joint_source_open(&source, &options, &err), D2V_OK);
	return source;
}

static int take(d2v_source *source, uint64_t *epoch, uint64_t *index) {
	const d2v_batch *batch;
	d2v_error err;
	assert_int_equal(d2v_source_next(source, &batch, &err), D2V_OK);
	int number = (int)batch->wave[0];
	if (epoch)
		*epoch = batch->epoch;
	if (index)
		*index = batch->index;
	d2v_source_give(source, batch);
	return number;
}

static void test_by_batches(void **state) {
	(void)state;
	d2v_source *source = open_joint(NULL, 3);
	assert_int_equal(d2v_source_epoch_steps(source, 1), 20);
	int orders[2][10];
	for (uint64_t epoch = 1; epoch <= 2; epoch++) {
		int seen[SOURCES][10] = { { 0 } };
		for (int i = 0; i < 20; i++) {
			uint64_t in, index;
			int number = take(source, &in, &index);
			assert_int_equal(in, epoch);
			assert_int_equal(index, (epoch - 1) * 20 + (uint64_t)i);
			seen[number / 100][number % 100]++;
			if (i % 2 == 0)
				orders[epoch - 1][i / 2] = number / 100;
			else
				assert_int_equal(number / 100, orders[epoch - 1][i / 2]); // an update is of one source
		}
		for (int s = 0; s < SOURCES; s++)
			for (int b = 0; b < batches_of[s]; b++)
				assert_int_equal(seen[s][b], 1); // nothing is left out, nothing comes twice
	}
	assert_int_not_equal(memcmp(orders[0], orders[1], sizeof orders[0]), 0);
	d2v_source_close(source);
}

static void test_by_shares(void **state) {
	(void)state;
	const double shares[SOURCES] = { 2, 0, 3 };
	d2v_source *source = open_joint(shares, 3);
	int count[SOURCES] = { 0 };
	uint64_t steps = d2v_source_epoch_steps(source, 1);
	assert_int_equal(steps, 20); // 10 updates: 4 of the first, 6 of the last
	for (uint64_t i = 0; i < 5 * steps; i++)
		count[take(source, NULL, NULL) / 100]++;
	assert_int_equal(count[0], 40);
	assert_int_equal(count[1], 0);
	assert_int_equal(count[2], 60);
	d2v_source_close(source);
}

static void test_goes_on_from_anywhere(void **state) {
	(void)state;
	enum { LENGTH = 50 };
	int whole[LENGTH];
	d2v_source_position positions[LENGTH];
	d2v_source *source = open_joint(NULL, 3);
	for (int i = 0; i < LENGTH; i++) {
		positions[i] = d2v_source_tell(source);
		whole[i] = take(source, NULL, NULL);
	}
	for (int i = 0; i < LENGTH; i++) {
		d2v_error err;
		d2v_source *fresh = i % 2 ? open_joint(NULL, 3) : source;
		assert_int_equal(d2v_source_seek(fresh, &positions[i], &err), D2V_OK);
		for (int k = i; k < LENGTH; k++) {
			uint64_t index;
			assert_int_equal(take(fresh, NULL, &index), whole[k]);
			assert_int_equal(index, k);
		}
		if (fresh != source)
			d2v_source_close(fresh);
	}
	d2v_source_close(source);
}

static void test_two_out(void **state) {
	(void)state;
	d2v_source *one = open_joint(NULL, 3), *two = open_joint(NULL, 3);
	const d2v_batch *first, *second;
	assert_int_equal(d2v_source_next(two, &first, NULL), D2V_OK);
	for (int i = 0; i < 45; i++) {
		assert_int_equal(d2v_source_next(two, &second, NULL), D2V_OK);
		assert_int_equal((int)first->wave[0], take(one, NULL, NULL));
		assert_int_equal(first->index + 1, second->index);
		d2v_source_give(two, first);
		first = second;
	}
	d2v_source_give(two, first);
	d2v_source_stats stats = d2v_source_statistics(two);
	assert_int_equal(stats.batches, 46);
	d2v_source_close(one);
	d2v_source_close(two);
}

static void test_what_is_refused(void **state) {
	(void)state;
	d2v_error err;
	const double shares[SOURCES] = { 1, 1, 1 };
	d2v_source *source = open_joint(NULL, 3), *other_shares = open_joint(shares, 3), *other_seed = open_joint(NULL, 4);
	d2v_source_position position = d2v_source_tell(source);
	assert_int_equal(d2v_source_seek(other_shares, &position, &err), D2V_INVALID);
	assert_non_null(strstr(err.text, "shares"));
	assert_int_equal(d2v_source_seek(other_seed, &position, &err), D2V_INVALID);
	position.parts = 2;
	assert_int_equal(d2v_source_seek(source, &position, &err), D2V_INVALID);
	position.parts = 3;
	position.part[1].plan++;
	assert_int_equal(d2v_source_seek(source, &position, &err), D2V_INVALID);
	d2v_source_close(source);
	d2v_source_close(other_shares);
	d2v_source_close(other_seed);

	d2v_joint_options options = some_options();
	d2v_source *children[SOURCES], *none;
	memcpy(children, options.sources, sizeof children);
	options.shares[1] = -1;
	assert_int_equal(d2v_joint_source_open(&source, &options, &err), D2V_INVALID);
	options.shares[1] = 0;
	assert_int_equal(d2v_recorded_source_open(&none, NULL, NULL), D2V_OK);
	options.sources[2] = none; // has no batches
	assert_int_equal(d2v_joint_source_open(&source, &options, &err), D2V_INVALID);
	options.count = SOURCES + 1;
	assert_int_equal(d2v_joint_source_open(&source, &options, &err), D2V_INVALID);
	d2v_source_close(none);
	for (int s = 0; s < SOURCES; s++)
		d2v_source_close(children[s]);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_by_batches),
		cmocka_unit_test(test_by_shares),
		cmocka_unit_test(test_goes_on_from_anywhere),
		cmocka_unit_test(test_two_out),
		cmocka_unit_test(test_what_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
