#include "tests/kernels/harness.h"

#include "base/memory.h"
#include "tests/ref/half.h"
#include "tests/ref/reference.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUARD 64 // bytes before and behind
#define GUARD_BYTE 0xA5
#define SAMPLES 24 // elements whose gradient is checked by differences

void harness_open(harness *h) {
	memset(h, 0, sizeof *h);
	d2v_error err = { 0 };
	const char *other = getenv("D2V_TEST_DEVICE");
	if (ref_open(&h->devices[REFERENCE], &err) || d2v_device_open(&h->devices[ONE_THREAD], other ? other : "cpu:1", &err) ||
		d2v_device_open(&h->devices[MANY_THREADS], other ? other : "cpu:3", &err))
		fail_msg("%s", err.text);
	h->seed = 1;
	h->reduction = 1;
	harness_side(h, REFERENCE);
}

void harness_side(harness *h, int side) {
	h->side = side;
	h->device = h->devices[side];
}

static unsigned char *elements(const harness_array *a) {
	return a->block + GUARD;
}

// What a device's working type can hold: floats, or 16 bits of one kind or the other.
typedef struct real_type {
	double epsilon; // distance of 1 to the next; 0 of float, which harness arrays hold exactly
	float (*read)(uint16_t bits);
	uint16_t (*round)(float value);
} real_type;
static const real_type float_type, bf16_type = { 0x1p-7, ref_from_bf16, ref_to_bf16 },
								   f16_type = { 0x1p-10, ref_from_f16, ref_to_f16 };

static const real_type *type_of(d2v_device *device) {
	if (d2v_device_real_size(device) != 2)
		return &float_type;
	return d2v_device_real_max(device) < 0x1p16 ? &f16_type : &bf16_type;
}

static const real_type *tested_type(const harness *h) {
	return type_of(h->devices[ONE_THREAD]);
}

static double get(const harness_array *a, int64_t i) {
	if (a->size == sizeof(double))
		return ((double *)(void *)elements(a))[i];
	if (a->size == sizeof(float))
		return (double)((float *)(void *)elements(a))[i];
	return (double)type_of(a->device)->read(((uint16_t *)(void *)elements(a))[i]);
}

static void set(const harness_array *a, int64_t i, double value) {
	if (a->size == sizeof(double))
		((double *)(void *)elements(a))[i] = value;
	else if (a->size == sizeof(float))
		((float *)(void *)elements(a))[i] = (float)value;
	else
		((uint16_t *)(void *)elements(a))[i] = type_of(a->device)->round((float)value);
}

double harness_epsilon(const harness *h) {
	return tested_type(h)->epsilon;
}

static uint64_t hash_name(const char *name) {
	uint64_t hash = 14695981039346656037u;
	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * 1099511628211u;
	return hash;
}

// real: of the working type; its values are the same on every side, so they are rounded to what all can hold.
static void *make(harness *h, const char *name, harness_role role, int64_t count, size_t size, bool real) {
	D2V_ASSERT(h->count < HARNESS_ARRAYS);
	harness_array *a = &h->arrays[h->count++];
	*a = (harness_array){ .name = name, .side = h->side, .role = role, .size = size, .count = count };
	a->reduction = h->reduction;
	size_t bytes = (size_t)count * size;
	a->device = h->device;
	D2V_ASSERT(d2v_device_alloc_host(h->device, &a->block, bytes + 2 * GUARD, NULL) == D2V_OK);
	D2V_ASSERT(d2v_alloc(&a->initial, (size_t)count, sizeof(double), NULL) == D2V_OK);
	memset(a->block, GUARD_BYTE, GUARD);
	memset(a->block + GUARD + bytes, GUARD_BYTE, GUARD);
	const real_type *type = tested_type(h);
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(h->seed, D2V_RANDOM_SYNTHETIC, hash_name(name), 0));
	for (int64_t i = 0; i < count; i++) {
		float value = (float)d2v_random_normal(&random);
		value = real && type->round ? type->read(type->round(value)) : value;
		set(a, i, role == OUT ? (double)NAN : (double)value);
		a->initial[i] = get(a, i);
	}
	return elements(a);
}

d2v_real *harness_real(harness *h, const char *name, harness_role role, int64_t count) {
	return make(h, name, role, count, d2v_device_real_size(h->device), true);
}

float *harness_float(harness *h, const char *name, harness_role role, int64_t count) {
	return make(h, name, role, count, sizeof(float), false);
}

double *harness_double(harness *h, const char *name, harness_role role, int64_t count) {
	return make(h, name, role, count, sizeof(double), false);
}

static const harness_array *find(const harness *h, int side, const char *name) {
	for (int i = 0; i < h->count; i++)
		if (h->arrays[i].side == side && strcmp(h->arrays[i].name, name) == 0)
			return &h->arrays[i];
	fail_msg("no array %s", name);
	return NULL;
}

static void wait_for(const harness *h, int side) {
	d2v_error err = { 0 };
	if (d2v_device_sync(h->devices[side], &err) != D2V_OK)
		fail_msg("%s", err.text);
}

double harness_get(const harness *h, int side, const char *name, int64_t index) {
	wait_for(h, side);
	return get(find(h, side, name), index);
}

void harness_put(harness *h, int side, const char *name, int64_t index, double value) {
	wait_for(h, side);
	set(find(h, side, name), index, value);
}

const void *harness_table(harness *h, const void *from, size_t bytes) {
	D2V_ASSERT(h->table_count < HARNESS_TABLES);
	void *copy;
	D2V_ASSERT(d2v_device_alloc_host(h->device, &copy, bytes, NULL) == D2V_OK);
	if (bytes)
		memcpy(copy, from, bytes);
	h->tables[h->table_count].device = h->device;
	h->tables[h->table_count++].bytes = copy;
	return copy;
}

static double largest(const harness_array *a) {
	double top = 0;
	for (int64_t i = 0; i < a->count; i++)
		top = isfinite(get(a, i)) ? fmax(top, fabs(get(a, i))) : top;
	return top;
}

// Each of n additions errs by half an ulp of a partial sum; with signs that do not conspire that grows as sqrt(n). 8
// covers the few operations around the sum. 16 bits: sums are in f32, but results, and what an operation keeps
// between its parts, are rounded, each by half of epsilon at most; errors of terms average out in their sum.
static double tolerance(const harness_array *want, const real_type *type) {
	double sums = 8 * (double)FLT_EPSILON * (1 + sqrt((double)want->reduction)), roundings = 4 * type->epsilon / 2;
	return (sums + roundings) * fmax(largest(want), (double)FLT_MIN);
}

// Writes what is wrong into text; false when something is.
static bool arrays_agree(const harness_array *want, const harness_array *got, const real_type *type, char text[HARNESS_TEXT]) {
	double limit = tolerance(want, type);
	for (int64_t i = 0; i < want->count; i++) {
		double w = get(want, i), g = get(got, i);
		bool fine =
			isnan(w) || isnan(g) ? isnan(w) && isnan(g) : w == g || fabs(w - g) <= limit; // equal infinities too
		if (fine)
			continue;
		snprintf(text, HARNESS_TEXT, "%s[%ld of %ld]: %.9g, the reference has %.9g, apart %.3g, allowed %.3g",
			want->name, (long)i, (long)want->count, g, w, fabs(w - g), limit);
		return false;
	}
	return true;
}

bool harness_agrees(const harness *h, char text[HARNESS_TEXT]) {
	for (int side = 0; side < SIDES; side++)
		wait_for(h, side);
	for (int i = 0; i < h->count; i++) {
		const harness_array *want = &h->arrays[i];
		if (want->side != REFERENCE || want->role == IN)
			continue;
		const harness_array *one = find(h, ONE_THREAD, want->name), *many = find(h, MANY_THREADS, want->name);
		if (!arrays_agree(want, one, tested_type(h), text))
			return false;
		if (one->count && memcmp(elements(one), elements(many), (size_t)one->count * one->size) != 0) {
			snprintf(text, HARNESS_TEXT, "%s: the bytes depend on the number of threads, or differ between runs", want->name);
			return false;
		}
	}
	return true;
}

void harness_compare(const harness *h) {
	char text[HARNESS_TEXT];
	if (!harness_agrees(h, text))
		fail_msg("%s", text);
}

static double loss_of(const harness_array *y, const harness_array *d_y) {
	double sum = 0;
	for (int64_t i = 0; i < y->count; i++)
		sum += get(y, i) * d_y->initial[i];
	return sum;
}

void harness_differences(harness *h, const char *x_name, const char *d_x_name, const char *y_name, const char *d_y_name,
	void (*forward)(d2v_device *dev, const void *op), const void *op) {
	const harness_array *x = find(h, REFERENCE, x_name), *d_x = find(h, REFERENCE, d_x_name);
	const harness_array *y = find(h, REFERENCE, y_name), *d_y = find(h, REFERENCE, d_y_name);
	double top = 0;
	if (getenv("D2V_TEST_DEVICE"))
		return;
	for (int64_t i = 0; i < d_x->count; i++)
		top = fmax(top, fabs(get(d_x, i) - (d_x->role == SUM ? d_x->initial[i] : 0)));
	for (int sample = 0; sample < SAMPLES && x->count; sample++) {
		int64_t i = harness_draw(77, (uint64_t)sample, (uint32_t)x->count);
		// What differences are off by goes with the step's square: an ALiBi scale multiplies distances of tens.
		double middle = get(x, i), step = x->size == sizeof(double) ? 1e-5 : 1e-4;
		set(x, i, middle + step);
		double high = get(x, i);
		forward(h->devices[REFERENCE], op);
		double above = loss_of(y, d_y);
		set(x, i, middle - step);
		double low = get(x, i);
		forward(h->devices[REFERENCE], op);
		double slope = (above - loss_of(y, d_y)) / (high - low);
		set(x, i, middle);
		double said = get(d_x, i) - (d_x->role == SUM ? d_x->initial[i] : 0);
		if (!(fabs(slope - said) <= 1e-5 * (1 + top)))
			fail_msg("%s[%ld]: the backward pass says %.9g, differences say %.9g", d_x_name, (long)i, said, slope);
	}
	forward(h->devices[REFERENCE], op);
}

void harness_close(harness *h) {
	for (int side = 0; side < SIDES; side++)
		wait_for(h, side);
	for (int i = 0; i < h->table_count; i++)
		d2v_device_free_host(h->tables[i].device, h->tables[i].bytes);
	for (int i = 0; i < h->count; i++) {
		harness_array *a = &h->arrays[i];
		const unsigned char *behind = elements(a) + (size_t)a->count * a->size;
		for (int g = 0; g < GUARD; g++)
			if (a->block[g] != GUARD_BYTE || behind[g] != GUARD_BYTE)
				fail_msg("%s: bytes outside of the array were written", a->name);
		d2v_device_free_host(a->device, a->block);
		d2v_free(a->initial);
	}
	for (int side = 0; side < SIDES; side++)
		d2v_device_close(h->devices[side]);
}

uint32_t harness_draw(uint64_t stream, uint64_t index, uint32_t below) {
	uint32_t words[4];
	d2v_random_block(d2v_random_key_make(stream, D2V_RANDOM_SYNTHETIC, 1, 2), index, 0, words);
	return (uint32_t)((uint64_t)words[0] * below >> 32);
}
