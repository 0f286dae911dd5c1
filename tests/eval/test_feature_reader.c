// Features of whole samples: what is pooled, which layer, what padding and extra tokens do to it, and how a source is
// read.
#include "base/memory.h"
#include "eval/feature_reader.h"
#include "loaders/recorded_source.h"
#include "tests/base/scratch.h"
#include "tests/train/tiny_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 3, LENGTH = 1200, TABLE = 3 * SAMPLES };
static const int valid[SAMPLES] = { LENGTH, 700, 950 };

static float wave[SAMPLES * LENGTH];
static uint8_t padding[SAMPLES * LENGTH];

static d2v_source *open_batches(int batches) {
	d2v_source *source;
	d2v_error err;
	assert_ok(d2v_recorded_source_open(&source, NULL, &err));
	for (int n = 0; n < batches; n++) {
		for (int i = 0; i < SAMPLES * LENGTH; i++) {
			padding[i] = i % LENGTH >= valid[i / LENGTH];
			wave[i] = padding[i] ? 0 : sinf(.01f * (float)(i % LENGTH) * (float)(1 + i / LENGTH + n));
		}
		d2v_recorded given = { .modality = D2V_AUDIO,
			.samples = SAMPLES,
			.clones = 1,
			.tokens = 1, // the model knows better
			.length = LENGTH,
			.wave = wave,
			.padding = padding };
		assert_ok(d2v_recorded_source_add(source, &given, &err));
	}
	return source;
}

typedef struct fixture {
	tiny_run run;
	d2v_model_config config;
	d2v_source *source;
	const d2v_batch *batch;
} fixture;

static void set_up(fixture *f) {
	d2v_error err;
	f->config = tiny_model_config();
	f->config.audio.num_extra_tokens = 2;
	tiny_run_open(&f->run, &f->config);
	f->source = open_batches(1);
	assert_ok(d2v_source_next(f->source, &f->batch, &err));
}

static void tear_down(fixture *f) {
	d2v_source_give(f->source, f->batch);
	d2v_source_close(f->source);
	tiny_run_close(&f->run);
}

// A copy of what a setting gives; *rows: of each sample.
static float *read_all(fixture *f, int64_t layer, d2v_pooling pooling, int64_t rows[SAMPLES]) {
	d2v_error err;
	d2v_feature_settings settings = { .layer = layer, .pooling = pooling };
	d2v_feature_reader *reader;
	d2v_feature_rows found;
	assert_ok(d2v_feature_reader_new(&reader, f->run.model, &settings, &err));
	assert_ok(d2v_feature_reader_read(reader, f->batch, &found, &err));
	assert_int_equal(found.samples, SAMPLES);
	assert_int_equal(found.width, f->config.embed_dim);
	size_t bytes = (size_t)(found.first[SAMPLES] * found.width) * sizeof(float);
	float *copy = malloc(bytes);
	memcpy(copy, found.rows, bytes);
	for (int b = 0; b < SAMPLES; b++)
		rows[b] = found.first[b + 1] - found.first[b];
	d2v_feature_reader_free(reader);
	return copy;
}

static void test_pooling(void **state) {
	(void)state;
	fixture f;
	set_up(&f);
	int64_t tokens[SAMPLES], ones[SAMPLES], width = f.config.embed_dim;
	float *all = read_all(&f, D2V_LAYER_LAST, D2V_POOLING_NONE, tokens);
	float *mean = read_all(&f, D2V_LAYER_LAST, D2V_POOLING_MEAN, ones);
	float *first = read_all(&f, D2V_LAYER_LAST, D2V_POOLING_FIRST, ones);
	const float *at = all;
	for (int b = 0; b < SAMPLES; b++) {
		assert_int_equal(tokens[b], d2v_model_tokens(f.run.model, D2V_AUDIO, valid[b])); // no padding, no extra tokens
		assert_int_equal(ones[b], 1);
		bool differs = false;
		for (int64_t d = 0; d < width; d++) {
			double sum = 0;
			for (int64_t t = 0; t < tokens[b]; t++)
				sum += (double)at[t * width + d];
			double wanted = sum / (double)tokens[b];
			assert_true(fabs(mean[b * width + d] - wanted) <= 1e-6 * fabs(wanted) + 1e-7);
			differs = differs || first[b * width + d] != at[d];
		}
		assert_true(differs); // the extra token is not the first frame
		at += tokens[b] * width;
	}
	free(all);
	free(mean);
	free(first);
	tear_down(&f);
}

static void test_layers(void **state) {
	(void)state;
	fixture f;
	set_up(&f);
	int64_t tokens[SAMPLES], depth = f.config.depth;
	float *mean = read_all(&f, D2V_LAYER_MEAN, D2V_POOLING_NONE, tokens);
	size_t count = (size_t)((tokens[0] + tokens[1] + tokens[2]) * f.config.embed_dim);
	double *sum = calloc(count, sizeof *sum);
	for (int64_t layer = 1; layer <= depth; layer++) {
		float *one = read_all(&f, layer, D2V_POOLING_NONE, tokens);
		for (size_t i = 0; i < count; i++)
			sum[i] += (double)one[i] / (double)depth;
		free(one);
	}
	for (size_t i = 0; i < count; i++)
		assert_true(fabs(mean[i] - sum[i]) <= 1e-5 * fabs(sum[i]) + 1e-6);
	d2v_error err;
	d2v_feature_reader *reader;
	d2v_feature_settings settings = { .layer = depth + 1 };
	assert_int_equal(d2v_feature_reader_new(&reader, f.run.model, &settings, &err), D2V_INVALID);
	free(sum);
	free(mean);
	tear_down(&f);
}

static void test_a_whole_source(void **state) {
	(void)state;
	fixture f;
	set_up(&f);
	d2v_error err;
	d2v_feature_settings settings = { .layer = D2V_LAYER_LAST };
	d2v_feature_reader *reader;
	d2v_source *source = open_batches(4);
	float *rows = calloc((size_t)(TABLE * f.config.embed_dim), sizeof *rows);
	uint8_t have[TABLE];
	d2v_feature_table table = { rows, have, TABLE };
	assert_ok(d2v_feature_reader_new(&reader, f.run.model, &settings, &err));
	for (int round = 0; round < 2; round++) { // it stands at the beginning again
		assert_ok(d2v_feature_reader_collect(reader, source, round ? 4 : 0, NULL, NULL, &table, &err));
		assert_int_equal(d2v_source_tell(source).step, 0);
		for (int i = 0; i < TABLE; i++)
			assert_int_equal(have[i], i < SAMPLES); // recorded samples are numbered in their batch
	}
	table.count = 2; // fewer than there are
	assert_int_equal(d2v_feature_reader_collect(reader, source, 0, NULL, NULL, &table, &err), D2V_INVALID);
	free(rows);
	d2v_feature_reader_free(reader);
	d2v_source_close(source);
	tear_down(&f);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pooling),
		cmocka_unit_test(test_layers),
		cmocka_unit_test(test_a_whole_source),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
