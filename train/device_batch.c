#include "train/device_batch.h"

#include "base/memory.h"

#include <string.h>

// ---- padding

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

typedef struct uploader {
	d2v_device *device;
	d2v_arena *arena;
} uploader;

static void *upload(uploader *to, const void *from, int64_t count, size_t size) {
	void *place = d2v_arena_take(to->arena, (size_t)count * size);
	if (!d2v_arena_is_measuring(to->arena))
		d2v_device_upload_ahead(to->device, place, from, (size_t)count * size);
	return place;
}

static void upload_audio(d2v_device_batch *out, uploader *to, const d2v_batch *batch) {
	out->length = batch->length;
	if (batch->wave) {
		out->given = upload(to, batch->wave, out->samples * out->length, sizeof *batch->wave);
		return;
	}
	out->audio = upload(to, batch->audio, out->samples * out->length, sizeof *batch->audio);
	out->mean = upload(to, batch->audio_mean, out->samples, sizeof *batch->audio_mean);
	out->rstd = upload(to, batch->audio_rstd, out->samples, sizeof *batch->audio_rstd);
}

static void upload_image(d2v_device_batch *out, uploader *to, const d2v_batch *batch, int64_t channels) {
	int64_t pixels = out->samples * batch->height * batch->width;
	out->height = batch->height, out->width = batch->width, out->channels = channels;
	if (batch->pixels)
		out->given = upload(to, batch->pixels, pixels * channels, sizeof *batch->pixels);
	else
		out->image = upload(to, batch->image, pixels * 3, sizeof *batch->image);
}

static void upload_text(d2v_device_batch *out, uploader *to, const d2v_batch *batch, const d2v_token_order *order) {
	out->text = upload(to, batch->text, out->samples * out->tokens, sizeof *batch->text);
	if (order)
		out->order = upload(to, order->places, out->samples * out->tokens, sizeof *order->places);
}

static void upload_masks(d2v_device_batch *out, uploader *to, const d2v_batch *batch, const d2v_batch_parts *parts) {
	out->clones = batch->clones, out->rows = out->samples * batch->clones, out->kept = batch->kept;
	out->masked_count = batch->masked_count;
	out->mask = upload(to, batch->mask, out->rows * out->tokens, sizeof *batch->mask);
	out->keep = upload(to, batch->keep, out->rows * out->kept, sizeof *batch->keep);
	out->restore = upload(to, batch->restore, out->rows * out->tokens, sizeof *batch->restore);
	out->masked = upload(to, batch->masked, out->masked_count, sizeof *batch->masked);
	out->noise_count = batch->noise ? out->rows * (out->tokens - out->kept) * parts->width : 0;
	if (batch->noise)
		out->given_noise = upload(to, batch->noise, out->noise_count, sizeof *batch->noise);
	if (parts->padding->in_student)
		out->key_padding = upload(to, parts->padding->student, out->rows * (parts->extra + out->kept), 1);
}

void d2v_device_batch_upload(
	d2v_device_batch *out, d2v_device *device, d2v_arena *arena, const d2v_batch *batch, const d2v_batch_parts *parts) {
	uploader to = { device, arena };
	int64_t samples = batch->samples, tokens = batch->tokens;
	*out = (d2v_device_batch){ .samples = samples, .clones = 1, .rows = samples, .tokens = tokens, .kept = tokens };
	if (batch->modality == D2V_AUDIO)
		upload_audio(out, &to, batch);
	else if (batch->modality == D2V_IMAGE)
		upload_image(out, &to, batch, parts->channels);
	else
		upload_text(out, &to, batch, parts->order);
	if (parts->padding->in_teacher)
		out->teacher_padding = upload(&to, parts->padding->teacher, samples * (parts->extra + tokens), 1);
	if (parts->masks)
		upload_masks(out, &to, batch, parts);
}

// ---- place

d2v_status d2v_batch_place_fill(
	d2v_batch_place *place, d2v_device *device, const d2v_batch *batch, const d2v_batch_parts *parts, d2v_error *err) {
	d2v_arena arena;
	d2v_arena_init_measuring(&arena);
	d2v_device_batch_upload(&place->batch, device, &arena, batch, parts);
	if (arena.peak > place->size) {
		d2v_device_free(device, place->memory);
		place->memory = NULL;
		place->size = 0;
		D2V_TRY(d2v_device_alloc(device, &place->memory, arena.peak, err));
		place->size = arena.peak;
	}
	d2v_arena_init(&arena, place->memory, place->size);
	d2v_device_batch_upload(&place->batch, device, &arena, batch, parts);
	return D2V_OK;
}

void d2v_batch_place_release(d2v_batch_place *place, d2v_device *device) {
	d2v_padding_release(&place->padding);
	d2v_token_order_release(&place->order);
	d2v_device_free(device, place->memory);
	*place = (d2v_batch_place){ .memory = NULL };
}

// ---- convert

// Floats in the working type.
static const d2v_real *reals_of(d2v_pass *pass, const float *floats, int64_t count) {
	if (d2v_device_real_size(pass->device) == sizeof *floats)
		return (const d2v_real *)(const void *)floats;
	d2v_real *reals = d2v_pass_reals(pass, count);
	d2v_device_to_real(pass->device, reals, floats, (size_t)count);
	return reals;
}

static const d2v_real *normalised_audio(d2v_pass *pass, const d2v_device_batch *batch) {
	d2v_real *wave = d2v_pass_reals(pass, batch->samples * batch->length);
	d2v_pass_run(pass, &d2v_op_wave,
		&(d2v_wave){
			.x = batch->audio,
			.mean = batch->mean,
			.rstd = batch->rstd,
			.y = wave,
			.batch = batch->samples,
			.length = batch->length,
		});
	return wave;
}

void d2v_device_batch_convert(d2v_device_batch *batch, d2v_pass *pass) {
	if (batch->given && batch->length)
		batch->wave = reals_of(pass, batch->given, batch->samples * batch->length);
	else if (batch->given)
		batch->pixels = reals_of(pass, batch->given, batch->samples * batch->channels * batch->height * batch->width);
	if (batch->audio)
		batch->wave = normalised_audio(pass, batch);
	if (batch->given_noise)
		batch->noise = reals_of(pass, batch->given_noise, batch->noise_count);
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
