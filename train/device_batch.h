// A batch on the device: masks as index lists, the padding of keys, given noise. What the local encoder reads is its
// own affair.
#ifndef D2V_TRAIN_DEVICE_BATCH_H
#define D2V_TRAIN_DEVICE_BATCH_H

#include "loaders/batch.h"
#include "train/pass.h"

typedef struct d2v_device_batch {
	int64_t samples, clones, rows, tokens, kept, masked_count;
	const d2v_real *wave; // (B, L), normalised
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
// valid: (B) frames of each sample that are not padding, or NULL.
d2v_status d2v_padding_set(
	d2v_padding *padding, const d2v_batch *batch, int64_t extra, const int64_t *valid, d2v_error *err);
void d2v_padding_release(d2v_padding *padding);

// Takes memory from the pass's arena and uploads. `width` D, of given noise.
void d2v_device_batch_upload(d2v_device_batch *out, d2v_pass *pass, const d2v_batch *batch, const d2v_padding *padding,
	int64_t extra, int64_t width);

#endif
