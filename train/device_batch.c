#include "train/device_batch.h"

#include "base/memory.h"

#include <string.h>

// ---- padding
// -----------------------------------------------------------------------------------------------------------

void d2v_padding_release(d2v_padding *padding) {
	d2v_free(padding->student);
	d2v_free(padding->teacher);
	*padding = (d2v_padding){ .student = NULL };
}

static bool set_row(uint8_t *row, int64_t extra, const int32_t *keep, int64_t count, int64_t valid) {
	bool any = false;
	memset(row, 0, (size_t)(extra + count));
	for (int64_t k = 0; k < count; k++)
		any |= row[extra + k] = (keep ? keep[k] : k) >= valid;
	return any;
}

d2v_status d2v_padding_set(
	d2v_padding *padding, const d2v_batch *batch, int64_t extra, const int64_t *valid, d2v_error *err) {
	padding->in_student = padding->in_teacher = false;
	if (!valid)
		return D2V_OK;
	int64_t kept = batch->kept, tokens = batch->tokens, rows = (int64_t)batch->samples * batch->clones;
	D2V_TRY(d2v_reserve(&padding->teacher, &padding->teacher_size, (size_t)(batch->samples * (extra + tokens)),
		sizeof *padding->teacher, err));
	for (int64_t b = 0; b < batch->samples; b++)
		padding->in_teacher |= set_row(padding->teacher + b * (extra + tokens), extra, NULL, tokens, valid[b]);
	if (!batch->keep)
		return D2V_OK;
	D2V_TRY(d2v_reserve(
		&padding->student, &padding->student_size, (size_t)(rows * (extra + kept)), sizeof *padding->student, err));
	for (int64_t r = 0; r < rows; r++)
		padding->in_student |= set_row(
			padding->student + r * (extra + kept), extra, batch->keep + r * kept, kept, valid[r / batch->clones]);
	return D2V_OK;
}

// ---- upload
// ------------------------------------------------------------------------------------------------------------

static void *upload(d2v_pass *pass, const void *from, size_t bytes) {
	void *to = d2v_arena_take(pass->arena, bytes);
	d2v_device_upload(pass->device, to, from, bytes);
	return to;
}

// Floats of the host in the working type.
static d2v_real *upload_reals(d2v_pass *pass, const float *from, int64_t count) {
	d2v_real *to = d2v_pass_reals(pass, count);
	if (d2v_device_real_size(pass->device) == sizeof(float)) {
		d2v_device_upload(pass->device, to, from, (size_t)count * sizeof *from);
		return to;
	}
	size_t mark = d2v_arena_mark(pass->arena);
	d2v_device_to_real(pass->device, to, upload(pass, from, (size_t)count * sizeof *from), (size_t)count);
	d2v_arena_rewind(pass->arena, mark);
	return to;
}

static d2v_real *upload_audio(d2v_pass *pass, const d2v_batch *batch) {
	int64_t samples = batch->samples, count = samples * batch->length;
	d2v_real *wave = d2v_pass_reals(pass, count);
	size_t mark = d2v_arena_mark(pass->arena);
	d2v_pass_run(pass, &d2v_op_wave,
		&(d2v_wave){
			.x = upload(pass, batch->audio, (size_t)count * sizeof *batch->audio),
			.mean = upload(pass, batch->audio_mean, (size_t)samples * sizeof *batch->audio_mean),
			.rstd = upload(pass, batch->audio_rstd, (size_t)samples * sizeof *batch->audio_rstd),
			.y = wave,
			.batch = samples,
			.length = batch->length,
		});
	d2v_arena_rewind(pass->arena, mark);
	return wave;
}

static void upload_text(d2v_device_batch *out, d2v_pass *pass, const d2v_batch *batch, const d2v_token_order *order) {
	size_t bytes = (size_t)batch->samples * (size_t)batch->tokens * sizeof *batch->text;
	out->text = upload(pass, batch->text, bytes);
	if (pass->tape)
		out->order = upload(pass, order->places, bytes);
}

static void upload_input(
	d2v_device_batch *out, d2v_pass *pass, const d2v_batch *batch, const d2v_token_order *order, int64_t channels) {
	int64_t samples = batch->samples, pixels = (int64_t)batch->height * batch->width;
	switch (batch->modality) {
	case D2V_AUDIO:
		out->length = batch->length;
		out->wave = batch->wave ? upload_reals(pass, batch->wave, samples * batch->length) : upload_audio(pass, batch);
		break;
	case D2V_IMAGE:
		out->height = batch->height, out->width = batch->width;
		if (batch->pixels)
			out->pixels = upload_reals(pass, batch->pixels, samples * channels * pixels);
		else
			out->image = upload(pass, batch->image, (size_t)(samples * pixels * 3));
		break;
	case D2V_TEXT:
		upload_text(out, pass, batch, order);
		break;
	}
}

void d2v_device_batch_upload(d2v_device_batch *out, d2v_pass *pass, const d2v_batch *batch, const d2v_padding *padding,
	const d2v_token_order *order, int64_t extra, int64_t channels) {
	int64_t samples = batch->samples, tokens = batch->tokens;
	*out = (d2v_device_batch){ .samples = samples, .clones = 1, .rows = samples, .tokens = tokens, .kept = tokens };
	upload_input(out, pass, batch, order, channels);
	if (padding->in_teacher)
		out->teacher_padding = upload(pass, padding->teacher, (size_t)(samples * (extra + tokens)));
}

void d2v_device_batch_upload_masks(d2v_device_batch *out, d2v_pass *pass, const d2v_batch *batch,
	const d2v_padding *padding, int64_t extra, int64_t width) {
	int64_t rows = (int64_t)batch->samples * batch->clones, tokens = batch->tokens, kept = batch->kept;
	out->clones = batch->clones, out->rows = rows, out->kept = kept, out->masked_count = batch->masked_count;
	out->mask = upload(pass, batch->mask, (size_t)(rows * tokens) * sizeof *batch->mask);
	out->keep = upload(pass, batch->keep, (size_t)(rows * kept) * sizeof *batch->keep);
	out->restore = upload(pass, batch->restore, (size_t)(rows * tokens) * sizeof *batch->restore);
	out->masked = upload(pass, batch->masked, (size_t)batch->masked_count * sizeof *batch->masked);
	if (batch->noise)
		out->noise = upload_reals(pass, batch->noise, rows * (tokens - kept) * width);
	if (padding->in_student)
		out->key_padding = upload(pass, padding->student, (size_t)(rows * (extra + kept)));
}

// Entries of the ascending list that are below.
static int64_t count_below(const int32_t *list, int64_t count, int64_t below) {
	int64_t low = 0, high = count;
	while (low < high) {
		int64_t middle = low + (high - low) / 2;
		if (list[middle] < below)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

d2v_device_batch d2v_device_batch_slice(const d2v_device_batch *batch, const d2v_batch *host, const d2v_device *device,
	int64_t first, int64_t count, int64_t extra, int64_t width) {
	int64_t tokens = batch->tokens, kept = batch->kept, row = first * batch->clones, rows = count * batch->clones;
	d2v_device_batch slice = {
		.samples = count, .clones = batch->clones, .rows = rows, .tokens = tokens, .kept = kept
	};
	slice.first_row = row;
	slice.mask = batch->mask + row * tokens;
	slice.keep = batch->keep + row * kept;
	slice.restore = batch->restore + row * tokens;
	if (host->masked) { // otherwise memory is being planned
		int64_t from = count_below(host->masked, host->masked_count, row * tokens);
		slice.masked = batch->masked + from;
		slice.masked_count = count_below(host->masked, host->masked_count, (row + rows) * tokens) - from;
	}
	if (batch->noise)
		slice.noise = d2v_real_at(device, batch->noise, (size_t)(row * (tokens - kept) * width));
	if (batch->key_padding)
		slice.key_padding = batch->key_padding + row * (extra + kept);
	return slice;
}
