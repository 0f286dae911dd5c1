// Steps that were prepared while another one ran give the bytes of steps that were not: batches of three modalities in
// turn, so that shapes come back, updates of one batch and of two, dropout and layer drop, so that keys and lists of
// operations change. D2V_TEST_DEVICE chooses the device; one with graphs (CUDA, or the emulation of it, where uploads
// are done as early and as late as can be) must have used them.
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "loaders/synthetic_source.h"
#include "tests/base/scratch.h"
#include "tests/train/tiny_model.h"
#include "tools/loader_settings.h"
#include "train/optimizer.h"

#include <stdlib.h>
#include <string.h>

#define UPDATES 10 // of a run

static d2v_error err;

typedef enum way {
	WAY_PLAIN,    // one step after another
	WAY_AHEAD,    // the next one is said in time
	WAY_LIES,     // sometimes what was said does not come, or something comes in between
	WAY_NO_GRAPHS // said in time, but without graphs
} way;

typedef struct run {
	d2v_device *device;
	d2v_model *model;
	d2v_optimizer *optimizer;
	d2v_source *sources[3]; // by modality - 1
	uint64_t turn;
	uint64_t results; // digest of all results
} run;

static d2v_model_config config_of_all(void) {
	d2v_model_config config;
	tiny_config(&config);
	config.supported_modality = D2V_ALL_MODALITIES;
	config.layerdrop = 0.3;
	config.encoder_dropout = config.post_mlp_drop = config.attention_dropout = 0.1;
	config.audio.decoder.input_dropout = 0.1;
	return config;
}

// Batches that are drawn anew, into memory that the device reads, each time one is asked for.
static void open_sources(run *r, const d2v_model_config *config) {
	for (int i = 0; i < 3; i++) {
		d2v_synthetic_options options = { .modality = (d2v_modality)(i + 1), .seed = 3, .samples = 2 };
		options.clones = (int32_t)config->clone_batch;
		options.masks = (d2v_mask_settings){ .mask_prob = 0.5, .mask_length = 1 };
		options.length = 420, options.frames = (d2v_frames_spec){ { { 5, 4 }, { 3, 2 } }, 2 };
		options.side = (int32_t)config->image.input_size, options.patch = (int32_t)config->image.patch_size;
		options.tokens = 20, options.vocabulary = (int32_t)config->text.vocab_size;
		options.allocator = d2v_loader_memory(r->device);
		assert_ok(d2v_synthetic_source_open(&r->sources[i], &options, &err));
	}
}

static void set_up(run *r) {
	const char *name = getenv("D2V_TEST_DEVICE");
	const d2v_optimizer_config adam = { .lr = 1e-3, .beta1 = .9, .beta2 = .98, .adam_eps = 1e-6, .clip_norm = 1 };
	d2v_model_config config = config_of_all();
	*r = (run){ .turn = 0 };
	assert_ok(d2v_device_open(&r->device, name ? name : "cpu:1", &err));
	assert_ok(d2v_model_new(&r->model, r->device, &config, &err));
	assert_ok(d2v_model_init(r->model, &err));
	assert_ok(d2v_optimizer_new(&r->optimizer, r->model, &adam, &err));
	open_sources(r, &config);
}

static void tear_down(run *r) {
	for (int i = 0; i < 3; i++)
		d2v_source_close(r->sources[i]);
	d2v_optimizer_free(r->optimizer);
	d2v_model_free(r->model);
	d2v_device_close(r->device);
}

static const d2v_batch *take(run *r) {
	static const d2v_modality order[] = { D2V_IMAGE, D2V_TEXT, D2V_IMAGE, D2V_AUDIO };
	const d2v_batch *batch;
	assert_ok(d2v_source_next(r->sources[order[r->turn++ % 4] - 1], &batch, &err));
	return batch;
}

static void give(run *r, const d2v_batch *batch) {
	d2v_source_give(r->sources[batch->modality - 1], batch);
}

static void look_at_features(run *r, const d2v_batch *batch) {
	d2v_features features;
	assert_ok(d2v_model_features(r->model, batch, true, &features, &err));
}

static void lie(run *r, const d2v_batch *batch, const d2v_batch *next, uint64_t update, uint64_t next_update) {
	d2v_step_result result;
	d2v_model_step_ahead(r->model, next, update % 3 == 0 ? next_update + 7 : next_update);
	assert_ok(d2v_model_step_end(r->model, &result, &err));
	r->results = d2v_hash64_chain(r->results, d2v_hash64(&result.loss, sizeof result.loss));
	if (update % 3 == 1)
		look_at_features(r, batch);
	if (update % 5 == 2)
		assert_ok(d2v_model_evaluate(r->model, batch, &result, &err));
}

static void step(
	run *r, way how, const d2v_batch *batch, const d2v_batch *next, uint64_t update, uint64_t next_update) {
	d2v_step_result result;
	assert_ok(d2v_model_step_begin(r->model, batch, update, &err));
	if (how == WAY_LIES) {
		lie(r, batch, next, update, next_update);
		return;
	}
	if (how != WAY_PLAIN)
		d2v_model_step_ahead(r->model, next, next_update);
	assert_ok(d2v_model_step_end(r->model, &result, &err));
	r->results = d2v_hash64_chain(r->results, d2v_hash64(&result.loss, sizeof result.loss));
}

static uint64_t digest_of_weights(const run *r) {
	size_t bytes = (size_t)d2v_model_params(r->model)->size * sizeof(float);
	void *weights;
	assert_ok(d2v_alloc(&weights, bytes, 1, &err));
	d2v_device_download(r->device, weights, d2v_model_weights(r->model), bytes);
	uint64_t digest = d2v_hash64(weights, bytes);
	d2v_free(weights);
	return digest;
}

// Digest of every loss and of the weights in the end; *graphs: what was used of them.
static uint64_t train_in(d2v_memory_options memory, way how, uint64_t updates, d2v_graph_counts *graphs) {
	run r;
	set_up(&r);
	d2v_model_set_memory(r.model, memory);
	d2v_device_graph_allow(r.device, how != WAY_NO_GRAPHS);
	const d2v_batch *next = take(&r);
	for (uint64_t update = 0; update < updates; update++) {
		int parts = update % 4 == 3 ? 2 : 1;
		double scale = update % 4 == 2 ? 4 : 1;
		d2v_optimizer_result optimized;
		d2v_model_scale_gradients(r.model, scale); // after the first step of this update was prepared
		d2v_model_move_teacher(r.model, update);
		d2v_model_zero_gradients(r.model);
		for (int part = 0; part < parts; part++) {
			const d2v_batch *batch = next;
			next = take(&r);
			step(&r, how, batch, next, update, update + (part + 1 == parts));
			give(&r, batch);
		}
		assert_ok(d2v_optimizer_update(r.optimizer, 100 * scale, 1e-3, &optimized, &err));
	}
	give(&r, next);
	uint64_t digest = d2v_hash64_chain(r.results, digest_of_weights(&r));
	*graphs = d2v_device_graphs(r.device);
	tear_down(&r);
	return digest;
}

static uint64_t train(way how, uint64_t updates, d2v_graph_counts *graphs) {
	return train_in((d2v_memory_options){ 0 }, how, updates, graphs);
}

static bool on_cuda(void) {
	const char *name = getenv("D2V_TEST_DEVICE");
	return name && strncmp(name, "cuda", 4) == 0;
}

static void same_bytes_however(void **state) {
	(void)state;
	d2v_graph_counts graphs;
	uint64_t plain = train(WAY_PLAIN, UPDATES, &graphs);
	assert_int_equal(graphs.launched, 0);
	setenv("D2V_EMULATED_COPIES", "early", 1);
	assert_int_equal(train(WAY_AHEAD, UPDATES, &graphs), plain);
	if (on_cuda()) {
		print_message(
			"%d launched, %d made, %d changed\n", (int)graphs.launched, (int)graphs.made, (int)graphs.changed);
		assert_true(graphs.launched >= UPDATES / 2 && graphs.made > 0 && graphs.changed > 0);
		assert_int_equal(train(WAY_NO_GRAPHS, UPDATES, &graphs), plain);
		assert_int_equal(graphs.launched, 0);
	}
	setenv("D2V_EMULATED_COPIES", "late", 1);
	assert_int_equal(train(WAY_LIES, UPDATES, &graphs), plain);
	assert_true(!on_cuda() || graphs.launched > 0);
	assert_int_equal(train(WAY_AHEAD, UPDATES, &graphs), plain);
}

// Steps that need less memory are prepared as others are.
static void same_bytes_in_less_memory(void **state) {
	(void)state;
	const d2v_memory_options again = { .recompute = true }, groups = { .clone_groups = 2 };
	const d2v_memory_options both = { .recompute = true, .clone_groups = 2 };
	d2v_graph_counts graphs;
	assert_int_equal(train_in(again, WAY_AHEAD, 4, &graphs), train(WAY_PLAIN, 4, &graphs));
	uint64_t plain = train_in(groups, WAY_PLAIN, 4, &graphs);
	assert_int_equal(train_in(both, WAY_AHEAD, 4, &graphs), plain);
	assert_true(!on_cuda() || graphs.launched > 0);
}

static void count_warnings(void *context, d2v_log_level level, const char *line) {
	int *count = context;
	*count += level == D2V_LOG_WARNING && strstr(line, "CUDA graphs (operation failed");
}

// Only the emulation can be told to refuse.
static void a_refusal_is_said_once(void **state) {
	(void)state;
	d2v_graph_counts graphs;
	int warnings = 0;
	uint64_t plain = train(WAY_PLAIN, 4, &graphs);
	setenv("D2V_EMULATED_CAPTURE", "fails", 1);
	d2v_log_set_sink(count_warnings, &warnings);
	uint64_t refused = train(WAY_AHEAD, 4, &graphs);
	d2v_log_set_sink(NULL, NULL);
	unsetenv("D2V_EMULATED_CAPTURE");
	assert_int_equal(refused, plain);
	if (graphs.launched) // a GPU
		skip();
	assert_int_equal(warnings, on_cuda());
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_bytes_however),
		cmocka_unit_test(same_bytes_in_less_memory),
		cmocka_unit_test(a_refusal_is_said_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
