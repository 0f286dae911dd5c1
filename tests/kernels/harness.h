// Runs one operation on three devices (the double reference, the CPU with one thread, the CPU with three) over arrays
// of the same names and values, and holds the results against each other: NaN first, guard bytes, tolerance derived
// from the type and the reduction's length, equal bytes for any number of threads, finite differences.
//
//     harness h;
//     harness_open(&h);
//     for (int side = 0; side < SIDES; side++) {
//         harness_side(&h, side);
//         d2v_linear op = { .x = harness_real(&h, "x", IN, rows * in), ... };
//         d2v_linear_forward(h.device, &op);
//     }
//     harness_compare(&h);
//     harness_close(&h);
#ifndef D2V_TESTS_KERNELS_HARNESS_H
#define D2V_TESTS_KERNELS_HARNESS_H

#include "kernels/ops.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { REFERENCE, ONE_THREAD, MANY_THREADS, SIDES };

typedef enum harness_role {
	IN,  // random values, never changed by an operation that is tested honestly (not checked: some reuse their inputs)
	OUT, // NaN before, compared after
	SUM, // random values before (accumulated into), compared after
} harness_role;

typedef struct harness_array {
	const char *name;
	int side;
	harness_role role;
	size_t size; // bytes of an element: double, float, or 16 bits
	d2v_device *device;
	int64_t count, reduction;
	unsigned char *block; // guard, elements, guard
	double *initial;
} harness_array;

#define HARNESS_ARRAYS 96
#define HARNESS_TABLES 32

typedef struct harness {
	d2v_device *devices[SIDES], *device; // device: the side's
	int side;
	uint64_t seed;
	int64_t reduction; // how many terms the longest sum has that makes an element of the arrays made from now on
	harness_array arrays[HARNESS_ARRAYS];
	int count;
	struct {
		d2v_device *device;
		void *bytes;
	} tables[HARNESS_TABLES];
	int table_count;
} harness;

void harness_open(harness *h);
void harness_close(harness *h); // checks the guards
void harness_side(harness *h, int side);

// Made on the current side. Equal names have equal values on every side.
d2v_real *harness_real(harness *h, const char *name, harness_role role, int64_t count);
float *harness_float(harness *h, const char *name, harness_role role, int64_t count);
double *harness_double(harness *h, const char *name, harness_role role, int64_t count);

// A copy of what every side reads alike (indices, masks) for the current side; kept until close.
const void *harness_table(harness *h, const void *from, size_t bytes);

// Distance of 1 to the next number of the tested device's working type, where that has 16 bits; 0: it is float.
double harness_epsilon(const harness *h);

double harness_get(const harness *h, int side, const char *name, int64_t index);
void harness_put(harness *h, int side, const char *name, int64_t index, double value);

#define HARNESS_TEXT 256

// Every OUT and SUM array: the reference against one thread, one thread against many.
bool harness_agrees(const harness *h, char text[HARNESS_TEXT]); // false: text says why not
void harness_compare(const harness *h);                         // fails the test then

// Central differences of the reference: loss = sum of d_y (as it was before) times y after `forward`; for a sample of
// the elements of `x` the change of the loss is held against `d_x` (what was added to it, when it is a SUM). No device
// has a part in it, so it is done where the CPU is tested, and not again for another that D2V_TEST_DEVICE names.
void harness_differences(harness *h, const char *x, const char *d_x, const char *y, const char *d_y,
	void (*forward)(d2v_device *dev, const void *op), const void *op);

// Numbers for tests: 0, 1, ..., from a stream of its own.
uint32_t harness_draw(uint64_t stream, uint64_t index, uint32_t below);

#endif
