#include "tests/ref/reference.h"

#include "base/memory.h"
#include "base/philox.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct reference {
	d2v_device base;
	double *room[3];
} reference;

static void ref_close(d2v_device *dev) {
	reference *r = (reference *)dev;
	d2v_free(r->room[0]);
	d2v_free(r->room[1]);
	d2v_free(r->room[2]);
	d2v_free(r);
}

double *ref_room(d2v_device *dev, int which, int64_t count) {
	reference *r = (reference *)dev;
	d2v_free(r->room[which]);
	D2V_ASSERT(d2v_alloc_zero(&r->room[which], (size_t)count, sizeof(double), NULL) == D2V_OK);
	return r->room[which];
}

static void ref_nothing(d2v_device *dev) {
	(void)dev;
}

static d2v_status ref_alloc(d2v_device *dev, void *out, size_t bytes, d2v_error *err) {
	(void)dev;
	return d2v_alloc(out, bytes, 1, err);
}

static void ref_free(d2v_device *dev, void *pointer) {
	(void)dev;
	d2v_free(pointer);
}

static void ref_copy(d2v_device *dev, void *to, const void *from, size_t bytes) {
	(void)dev;
	memcpy(to, from, bytes);
}

static void ref_zero(d2v_device *dev, void *to, size_t bytes) {
	(void)dev;
	memset(to, 0, bytes);
}

static void ref_to_real(d2v_device *dev, d2v_real *to, const float *from, size_t count) {
	(void)dev;
	for (size_t i = 0; i < count; i++)
		ref_out(to)[i] = (double)from[i];
}

static void ref_to_float(d2v_device *dev, float *to, const d2v_real *from, size_t count) {
	(void)dev;
	for (size_t i = 0; i < count; i++)
		to[i] = (float)ref_in(from)[i];
}

double ref_gelu(double x) {
	return x / 2 * (1 + erf(x / sqrt(2)));
}
double ref_gelu_derivative(double x) {
	return (1 + erf(x / sqrt(2))) / 2 + x * exp(-x * x / 2) / sqrt(2 * M_PI);
}

double ref_dropout_factor(const d2v_dropout *drop, int64_t element) {
	if (!(drop->p > 0))
		return 1;
	int64_t draw = (drop->first + element) / (drop->span ? drop->span : 1);
	d2v_philox block = d2v_philox_block_7(drop->key.word[0], drop->key.word[1], (uint64_t)(draw / 8), 0);
	uint32_t word = block.word[draw % 8 / 2];
	double number = draw % 2 ? word >> 16 : word & 0xffff, dropped = ceil((double)drop->p * 65536); // of 65536 numbers
	return number >= dropped ? 65536 / (65536 - dropped) : 0;
}

double ref_normal(d2v_random_key key, int64_t element) {
	uint32_t words[4];
	d2v_random_block(key, (uint64_t)(element / 4), 1, words);
	int first = element % 4 < 2 ? 0 : 2;
	double u = (words[first] + 1.0) * 0x1p-32, v = words[first + 1] * 0x1p-32;
	double radius = sqrt(-2 * log(u));
	return element % 2 ? radius * sin(2 * M_PI * v) : radius * cos(2 * M_PI * v);
}

static const d2v_backend backend = {
	.close = ref_close,
	.enter = ref_nothing,
	.sync = ref_nothing,
	.alloc = ref_alloc,
	.free = ref_free,
	.alloc_host = ref_alloc,
	.free_host = ref_free,
	.upload = ref_copy,
	.download = ref_copy,
	.copy = ref_copy,
	.zero = ref_zero,
	.to_real = ref_to_real,
	.to_float = ref_to_float,
#define REF_ENTRY(name, type) .name = ref_##name,
	D2V_STRUCT_OPS(REF_ENTRY)
#undef REF_ENTRY
		.attention_bias = ref_attention_bias,
	.drop = ref_drop,
	.add = ref_add,
	.sum_squares = ref_sum_squares,
};

d2v_status ref_open(d2v_device **device, d2v_error *err) {
	reference *r;
	D2V_TRY(d2v_alloc_zero(&r, 1, sizeof *r, err));
	d2v_device *dev = &r->base;
	dev->backend = &backend;
	dev->threads = 1;
	dev->real_size = sizeof(double);
	dev->real_max = DBL_MAX;
	snprintf(dev->name, sizeof dev->name, "reference");
	*device = dev;
	return D2V_OK;
}
