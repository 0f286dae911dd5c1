// A batch on the device: what the local encoder reads, masks as index lists, the padding of keys, given noise. It gets
// there in two steps: d2v_device_batch_upload copies what the host has, which may go on beside other work;
// d2v_device_batch_convert makes of it what operations read, and is one of them.
#ifndef D2V_TRAIN_DEVICE_BATCH_H
#define D2V_TRAIN_DEVICE_BATCH_H

#include "loaders/batch.h"
#include "train/pass.h"
#include "train/token_order.h"

typedef struct d2v_device_batch {
	int64_t samples, clones, rows, tokens, kept, masked_count;
	int64_t first_row;      // of the rows of the batch that this is a piece of; masked counts positions from there
	int64_t length, channels; // audio; of given pixels
	const int16_t *audio;     // (B, L), or NULL
	const float *mean, *rstd; // (B) of audio
	const float *given;       // (B, L) or (B, channels, height, width) instead of audio or image, normalised
	const d2v_real *wave;     // (B, L), normalised; convert sets it
	int64_t height, width;    // images
	const uint8_t *image;     // (B, height, width, 3), or NULL
	const d2v_real *pixels;   // (B, channels, height, width) instead, normalised; convert sets it
	const int32_t *text;    // (B, T)
	const int32_t *order;   // (B*T) its places, sorted by token; NULL when nothing is recorded
	const uint8_t *mask;
	const int32_t *keep, *restore, *masked;
	int64_t noise_count;
	const float *given_noise;       // (R, T-K, D) or NULL
	const d2v_real *noise;          // the same; convert sets it
	const uint8_t *key_padding;     // (R, E+K) or NULL
	const uint8_t *teacher_padding; // (B, E+T) or NULL
} d2v_device_batch;

// Which keys attention leaves out, on the host; kept between batches.
typedef struct d2v_padding {
	uint8_t *student, *teacher; // (R, E+K), (B, E+T)
	size_t student_size, teacher_size;
	bool in_student, in_teacher; // any at all
} d2v_padding;
// valid: (B) tokens of each sample that are not padding, or NULL. Without masks only the teacher's.
d2v_status d2v_padding_set(
	d2v_padding *padding, const d2v_batch *batch, int64_t extra, const int64_t *valid, d2v_error *err);
void d2v_padding_release(d2v_padding *padding);

// What of a batch is uploaded, besides the input.
typedef struct d2v_batch_parts {
	bool masks;                     // and noise, and the students' padding; otherwise clones is 1, every token is kept
	const d2v_padding *padding;     // of the batch
	const d2v_token_order *order;   // of a batch of text, or NULL
	int64_t extra, channels, width; // E; of given pixels; D of given noise
} d2v_batch_parts;
// Takes memory from the arena and has it filled ahead of what runs (d2v_device_upload_ahead). With a measuring arena
// only counts.
void d2v_device_batch_upload(
	d2v_device_batch *out, d2v_device *device, d2v_arena *arena, const d2v_batch *batch, const d2v_batch_parts *parts);
void d2v_device_batch_convert(d2v_device_batch *batch, d2v_pass *pass);
// The masked copies of `count` samples from `first` on; their inputs are left out. host: what was uploaded; extra,
// width: as in d2v_batch_parts. Nothing is copied.
d2v_device_batch d2v_device_batch_slice(const d2v_device_batch *batch, const d2v_batch *host, const d2v_device *device,
	int64_t first, int64_t count, int64_t extra, int64_t width);

// A place for a batch on the device, and what the host adds to it. Starts as zeros; its memory is kept between batches.
typedef struct d2v_batch_place {
	d2v_device_batch batch;
	d2v_padding padding;
	d2v_token_order order;
	void *memory;
	size_t size;
} d2v_batch_place;
// No operation that still runs may read the place. parts: padding is the place's.
d2v_status d2v_batch_place_fill(
	d2v_batch_place *place, d2v_device *device, const d2v_batch *batch, const d2v_batch_parts *parts, d2v_error *err);
void d2v_batch_place_release(d2v_batch_place *place, d2v_device *device);

#endif
