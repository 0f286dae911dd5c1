#include "eval/feature_reader.h"

#include "base/memory.h"

#include <string.h>

struct d2v_feature_reader {
	d2v_model *model;
	d2v_feature_settings settings;
	float *on_device; // (size) where the device's type is made float
	float *tokens;    // (size) of a batch, (B, E+T, D)
	size_t device_size, tokens_size;
	float *rows; // what is handed out
	size_t rows_size;
	int64_t *first;
	size_t first_size;
};

d2v_status d2v_feature_reader_new(
	d2v_feature_reader **reader, d2v_model *model, const d2v_feature_settings *settings, d2v_error *err) {
	int64_t depth = d2v_model_configuration(model)->depth;
	*reader = NULL;
	if (settings->layer < D2V_LAYER_MEAN || settings->layer > depth)
		return d2v_fail(err, D2V_INVALID, "layer %lld; the model's blocks are 1 to %lld", (long long)settings->layer,
			(long long)depth);
	D2V_TRY(d2v_alloc_zero(reader, 1, sizeof **reader, err));
	(*reader)->model = model;
	(*reader)->settings = *settings;
	return D2V_OK;
}

void d2v_feature_reader_free(d2v_feature_reader *reader) {
	if (!reader)
		return;
	d2v_device_free(d2v_model_device(reader->model), reader->on_device);
	d2v_free(reader->tokens);
	d2v_free(reader->rows);
	d2v_free(reader->first);
	d2v_free(reader);
}

static d2v_status make_room(d2v_feature_reader *self, const d2v_features *found, d2v_error *err) {
	d2v_device *device = d2v_model_device(self->model);
	size_t samples = (size_t)found->batch, need = samples * (size_t)((found->extra + found->tokens) * found->width);
	if (need > self->device_size) {
		d2v_device_free(device, self->on_device);
		self->on_device = NULL;
		self->device_size = 0;
		D2V_TRY(d2v_device_alloc(device, &self->on_device, need * sizeof(float), err));
		self->device_size = need;
	}
	D2V_TRY(d2v_reserve(&self->tokens, &self->tokens_size, need, sizeof *self->tokens, err));
	D2V_TRY(d2v_reserve(&self->first, &self->first_size, samples + 1, sizeof *self->first, err));
	size_t rows = self->settings.pooling == D2V_POOLING_NONE ? need : samples * (size_t)found->width;
	return d2v_reserve(&self->rows, &self->rows_size, rows, sizeof *self->rows, err);
}

// One layer of the whole batch to `to`.
static d2v_status fetch(d2v_feature_reader *self, const d2v_real *layer, size_t count, float *to, d2v_error *err) {
	d2v_device *device = d2v_model_device(self->model);
	d2v_device_to_float(device, self->on_device, layer, count);
	d2v_device_download(device, to, self->on_device, count * sizeof *to);
	return d2v_device_sync(device, err);
}

// The mean over all trunk blocks; the rows' own memory takes one after the other.
static d2v_status fetch_mean(d2v_feature_reader *self, const d2v_features *found, size_t count, d2v_error *err) {
	int64_t depth = d2v_model_configuration(self->model)->depth;
	float *one;
	D2V_TRY(d2v_alloc(&one, count, sizeof *one, err));
	memset(self->tokens, 0, count * sizeof *self->tokens);
	d2v_status status = D2V_OK;
	for (int64_t i = 0; i < depth && status == D2V_OK; i++) {
		status = fetch(self, found->layer[i], count, one, err);
		for (size_t k = 0; k < count && status == D2V_OK; k++)
			self->tokens[k] += one[k] / (float)depth;
	}
	d2v_free(one);
	return status;
}

// Tokens of sample b that are no padding; padding is at the end.
static int64_t own_tokens(const d2v_features *found, int64_t b) {
	int64_t count = found->tokens;
	const uint8_t *padding = found->padding ? found->padding + b * (found->extra + found->tokens) + found->extra : NULL;
	while (padding && count > 0 && padding[count - 1])
		count--;
	return count;
}

static void mean_of(const float *tokens, int64_t count, int64_t width, float *row) {
	for (int64_t d = 0; d < width; d++) {
		double sum = 0;
		for (int64_t t = 0; t < count; t++)
			sum += (double)tokens[t * width + d];
		row[d] = (float)(sum / (double)(count > 0 ? count : 1));
	}
}

static void pool(d2v_feature_reader *self, const d2v_features *found) {
	int64_t width = found->width;
	self->first[0] = 0;
	for (int64_t b = 0; b < found->batch; b++) {
		const float *sample = self->tokens + b * (found->extra + found->tokens) * width;
		const float *own = sample + found->extra * width;
		float *row = self->rows + self->first[b] * width;
		int64_t count = own_tokens(found, b);
		if (self->settings.pooling == D2V_POOLING_MEAN)
			mean_of(own, count, width, row);
		else if (self->settings.pooling == D2V_POOLING_FIRST)
			memcpy(row, sample, (size_t)width * sizeof *row);
		else
			memcpy(row, own, (size_t)(count * width) * sizeof *row);
		self->first[b + 1] = self->first[b] + (self->settings.pooling == D2V_POOLING_NONE ? count : 1);
	}
}

d2v_status d2v_feature_reader_read(
	d2v_feature_reader *reader, const d2v_batch *batch, d2v_feature_rows *rows, d2v_error *err) {
	d2v_features found;
	D2V_TRY(d2v_model_features(reader->model, batch, reader->settings.teacher, &found, err));
	if (reader->settings.pooling == D2V_POOLING_FIRST && found.extra < 1)
		return d2v_fail(err, D2V_INVALID, "the model has no extra token for %s; pool by the mean instead",
			d2v_modality_name(batch->modality));
	D2V_TRY(make_room(reader, &found, err));
	size_t count = (size_t)(found.batch * (found.extra + found.tokens) * found.width);
	int64_t layer = reader->settings.layer;
	if (layer == D2V_LAYER_MEAN)
		D2V_TRY(fetch_mean(reader, &found, count, err));
	else
		D2V_TRY(fetch(reader, layer == D2V_LAYER_LAST ? found.x : found.layer[layer - 1], count, reader->tokens, err));
	pool(reader, &found);
	*rows = (d2v_feature_rows){
		.rows = reader->rows, .first = reader->first, .samples = found.batch, .width = found.width
	};
	return D2V_OK;
}

// ---- a whole source

static d2v_status take_in(d2v_feature_reader *self, const d2v_batch *batch, d2v_feature_table *table, d2v_error *err) {
	d2v_feature_rows rows;
	D2V_TRY(d2v_feature_reader_read(self, batch, &rows, err));
	for (int64_t b = 0; b < rows.samples; b++) {
		uint64_t id = batch->ids[b];
		if (id >= table->count)
			return d2v_fail(err, D2V_INVALID, "sample %llu of a data set of %llu", (unsigned long long)id,
				(unsigned long long)table->count);
		memcpy(table->rows + id * (uint64_t)rows.width, rows.rows + b * rows.width,
			(size_t)rows.width * sizeof *table->rows);
		table->have[id] = 1;
	}
	return D2V_OK;
}

// Every how many batches one is read.
static uint64_t stride_of(uint64_t steps, uint64_t samples, uint64_t most) {
	if (!most || samples <= most)
		return 1;
	uint64_t stride = (samples + most - 1) / most;
	return stride < steps ? stride : steps;
}

static d2v_status step_over(d2v_source *source, uint64_t batches, d2v_error *err) {
	d2v_source_position position = d2v_source_tell(source);
	position.step += batches;
	position.index += batches;
	return batches ? d2v_source_seek(source, &position, err) : D2V_OK;
}

d2v_status d2v_feature_reader_collect(d2v_feature_reader *reader, d2v_source *source, uint64_t most,
	d2v_feature_progress *looked, void *context, d2v_feature_table *table, d2v_error *err) {
	uint64_t steps = d2v_source_epoch_steps(source, 1), stride = stride_of(steps, table->count, most);
	d2v_source_position start = d2v_source_tell(source);
	D2V_ASSERT(reader->settings.pooling != D2V_POOLING_NONE);
	memset(table->have, 0, table->count);
	for (uint64_t step = 0; step < steps; step += stride) {
		const d2v_batch *batch;
		D2V_TRY(d2v_source_next(source, &batch, err));
		d2v_status status = batch->samples ? take_in(reader, batch, table, err) : D2V_OK;
		d2v_source_give(source, batch);
		D2V_TRY(status);
		if (looked && !looked(context, step / stride + 1, (steps + stride - 1) / stride))
			return d2v_fail(err, D2V_INTERRUPTED, "stopped");
		if (step + stride < steps)
			D2V_TRY(step_over(source, stride - 1, err));
	}
	return d2v_source_seek(source, &start, err);
}
