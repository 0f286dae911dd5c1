#include "train/op_kinds.h"

#define FORWARD(name, function) \
	static void name##_forward(d2v_device *device, const void *op) { \
		function(device, op); \
	}
#define BACKWARD(name, function) \
	static void name##_backward(d2v_device *device, const void *op) { \
		function(device, op); \
	}
#define PAIR(name) \
	FORWARD(name, d2v_##name##_forward) \
	BACKWARD(name, d2v_##name##_backward) \
	const d2v_op_kind d2v_op_##name = { #name, sizeof(d2v_##name), name##_forward, name##_backward };

PAIR(embedding)
PAIR(linear)
PAIR(norm)
PAIR(conv1d)
PAIR(conv2d)
PAIR(attention)
PAIR(mask_rows)
PAIR(gather)
PAIR(restore)

FORWARD(wave, d2v_wave_forward)
FORWARD(patches, d2v_patches_forward)
FORWARD(target, d2v_target_forward)
FORWARD(regression, d2v_regression_loss)
BACKWARD(cls, d2v_cls_loss)
const d2v_op_kind d2v_op_wave = { "wave", sizeof(d2v_wave), wave_forward, NULL };
const d2v_op_kind d2v_op_patches = { "patches", sizeof(d2v_patches), patches_forward, NULL };
const d2v_op_kind d2v_op_target = { "target", sizeof(d2v_target), target_forward, NULL };
const d2v_op_kind d2v_op_regression = { "regression", sizeof(d2v_regression), regression_forward, NULL };
const d2v_op_kind d2v_op_cls = { "cls", sizeof(d2v_cls), NULL, cls_backward };

static void drop_forward(d2v_device *device, const void *arguments) {
	const d2v_drop_in_place *op = arguments;
	d2v_drop(device, op->x, op->x, op->drop, false, op->count);
}

static void drop_backward(d2v_device *device, const void *arguments) {
	const d2v_drop_in_place *op = arguments;
	d2v_drop(device, op->d_x, op->d_x, op->drop, false, op->count);
}

const d2v_op_kind d2v_op_drop = { "drop", sizeof(d2v_drop_in_place), drop_forward, drop_backward };

// to = from + path(drop(from)), or with the order of the two dropouts exchanged, which is what the gradient goes
// through.
static void add_dropped(d2v_device *device, const d2v_twice *op, d2v_real *to, const d2v_real *from, d2v_dropout first,
	d2v_dropout second) {
	d2v_device_copy(device, to, from, (size_t)op->count * d2v_device_real_size(device));
	if (first.p > 0 && second.p > 0) {
		d2v_drop(device, op->scratch, from, first, false, op->count);
		d2v_drop(device, to, op->scratch, second, true, op->count);
	} else {
		d2v_drop(device, to, from, first.p > 0 ? first : second, true, op->count);
	}
}

static void twice_forward(d2v_device *device, const void *arguments) {
	const d2v_twice *op = arguments;
	add_dropped(device, op, op->y, op->x, op->drop, op->path);
}

static void twice_backward(d2v_device *device, const void *arguments) {
	const d2v_twice *op = arguments;
	add_dropped(device, op, op->d_x, op->d_y, op->path, op->drop);
}

const d2v_op_kind d2v_op_twice = { "twice", sizeof(d2v_twice), twice_forward, twice_backward };

// A handful of numbers on a path no recipe takes: by way of the host, rather than an operation of its own in every
// backend.
#define HEADS_MAX 1024
static void spread_scale_forward(d2v_device *device, const void *arguments) {
	const d2v_spread_scale *op = arguments;
	float one = 0, each[HEADS_MAX];
	d2v_device_download(device, &one, op->one, sizeof one);
	for (int64_t h = 0; h < op->heads; h++)
		each[h] = one;
	d2v_device_upload(device, op->each, each, (size_t)op->heads * sizeof *each);
}

static void spread_scale_backward(d2v_device *device, const void *arguments) {
	const d2v_spread_scale *op = arguments;
	float sum = 0, each[HEADS_MAX] = { 0 };
	d2v_device_download(device, &sum, op->d_one, sizeof sum);
	d2v_device_download(device, each, op->d_each, (size_t)op->heads * sizeof *each);
	for (int64_t h = 0; h < op->heads; h++)
		sum += each[h];
	d2v_device_upload(device, op->d_one, &sum, sizeof sum);
}

const d2v_op_kind d2v_op_spread_scale = { "spread_scale", sizeof(d2v_spread_scale), spread_scale_forward,
	spread_scale_backward };

static void scale_gradient_backward(d2v_device *device, const void *arguments) {
	const d2v_scale_gradient *op = arguments;
	d2v_device_zero(device, op->d_x, (size_t)op->count * d2v_device_real_size(device));
	d2v_add(device, op->d_x, op->d_y, op->factor, op->count);
}

const d2v_op_kind d2v_op_scale_gradient = { "scale", sizeof(d2v_scale_gradient), NULL, scale_gradient_backward };
