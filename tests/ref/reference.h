// A backend whose working type is double and whose code is the formulas, loop for loop: what the real backends are held
// against. Slow, single-threaded, readable. Being a device like any other, it also runs whole models, for finite
// differences of them.
#ifndef D2V_TESTS_REF_REFERENCE_H
#define D2V_TESTS_REF_REFERENCE_H

#include "kernels/backend.h"

d2v_status ref_open(d2v_device **device, d2v_error *err);

// Workspace number `which` (0 or 1) of at least count doubles, zeroed; valid until the same number is asked for again.
double *ref_room(d2v_device *dev, int which, int64_t count);

// Arrays of the working type.
static inline const double *ref_in(const d2v_real *p) {
	return (const double *)(const void *)p;
}
static inline double *ref_out(d2v_real *p) {
	return (double *)(void *)p;
}

double ref_dropout_factor(const d2v_dropout *drop, int64_t element);
double ref_normal(d2v_random_key key, int64_t element); // the noise of d2v_restore, before noise_std
double ref_gelu(double x);
double ref_gelu_derivative(double x);

#define REF_DECLARE(name, type) void ref_##name(d2v_device *dev, const type *op);
D2V_STRUCT_OPS(REF_DECLARE)
#undef REF_DECLARE
void ref_attention_bias(d2v_device *dev, const d2v_attention *op, float *bias);
void ref_drop(d2v_device *dev, d2v_real *y, const d2v_real *x, d2v_dropout drop, bool accumulate, int64_t count);
void ref_add(d2v_device *dev, d2v_real *y, const d2v_real *x, float a, int64_t count);
void ref_sum_squares(d2v_device *dev, double *sum, const float *x, int64_t count);

#endif
