// A batch on the device: what the local encoder reads, masks as index lists, the padding of keys, given noise.
#ifndef D2V_TRAIN_DEVICE_BATCH_H
#define D2V_TRAIN_DEVICE_BATCH_H

#include "loaders/batch.h"
#include "train/pass.h"
#include "train/token_order.h"

typedef struct d2v_device_batch {
	int64_t samples, clones, rows, tokens, kept, masked_count;
	int64_t first_row;      // of the rows of the batch that this is a piece of; masked counts positions from there
	int64_t length;         // audio
	const d2v_real *wave;   // (B, L), normalised
	int64_t height, width;  // images
	const uint8_t *image;   // (B, height, width, 3), or NULL
	const d2v_real *pixels; // (B, in, height, width) instead, normalised
	const int32_t *text;    // (B, T)
	const int32_t *order;   // (B*T) its places, sorted by token; NULL when nothing is recorded
	const uint8_t *mask;
	const int32_t *keep, *restore, *masked;
	const d2v_real *noise;          // (R, T-K, D) or NULL
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

// Both take memory from the pass's arena. The first sets all but masks, noise and the students' padding: clones is 1,
// every token is kept. order: of the batch's tokens, read when the batch is text and the pass records. channels: of
// given pixels.
void d2v_device_batch_upload(d2v_device_batch *out, d2v_pass *pass, const d2v_batch *batch, const d2v_padding *padding,
	const d2v_token_order *order, int64_t extra, int64_t channels);
// Adds those. `width` D, of given noise.
void d2v_device_batch_upload_masks(d2v_device_batch *out, d2v_pass *pass, const d2v_batch *batch,
	const d2v_padding *padding, int64_t extra, int64_t width);
// The masked copies of `count` samples from `first` on; their inputs are left out. host: what was uploaded; extra,
// width: as above. Nothing is copied.
d2v_device_batch d2v_device_batch_slice(const d2v_device_batch *batch, const d2v_batch *host, const d2v_device *device,
	int64_t first, int64_t count, int64_t extra, int64_t width);

#endif
