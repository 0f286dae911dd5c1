// What happens to parameters once a step: Adam, and the teacher's average.
//
// Ranges come in the kernel's arguments, as many at a time as fit; what is left of a thousand of them is a few launches.
#include "kernels/cuda/launch.cuh"

#include <math.h>

#define THREADS 256
#define RANGES 64 // of one launch

typedef struct range_list {
	d2v_range range[RANGES], other[RANGES]; // other: the student's, for the average
	int count;
} range_list;

typedef struct adam_numbers {
	float beta1, beta2, rest1, rest2, decay, rate, scale, eps;
} adam_numbers;

// A block takes CHUNK elements of range blockIdx.y at a time. Written operation by operation: no fused multiply-adds, so
// that the numbers are the CPU's.
template <class T> static __global__ void adam(d2v_adam op, range_list list, adam_numbers n) {
	d2v_range range = list.range[blockIdx.y];
	for (int64_t at = thread_number(); at < range.count; at += thread_count()) {
		int64_t i = range.offset + at;
		float g = __fmul_rn(op.grad[i], n.scale), p = op.param[i];
		float m = __fadd_rn(__fmul_rn(op.m[i], n.beta1), __fmul_rn(g, n.rest1));
		float v = __fadd_rn(__fmul_rn(op.v[i], n.beta2), __fmul_rn(__fmul_rn(g, g), n.rest2));
		p = __fadd_rn(p, -__fmul_rn(n.decay, p));
		p = __fadd_rn(p, -__fmul_rn(n.rate, m / __fadd_rn(sqrtf(v), n.eps)));
		op.m[i] = m;
		op.v[i] = v;
		op.param[i] = p;
		if (op.working)
			((T *)op.working)[i] = from_float<T>(p);
	}
}

// Copies ranges [first, first + RANGES) and says how many elements the longest has.
static int64_t take_ranges(range_list *list, const d2v_range *range, const d2v_range *other, int64_t first, int64_t count) {
	int64_t longest = 0;
	list->count = (int)(count - first < RANGES ? count - first : RANGES);
	for (int i = 0; i < list->count; i++) {
		list->range[i] = range[first + i];
		if (other)
			list->other[i] = other[first + i];
		longest = range[first + i].count > longest ? range[first + i].count : longest;
	}
	return longest;
}

static dim3 range_grid(int64_t longest, int count) {
	unsigned blocks = d2v_blocks(longest, 4 * THREADS);
	return dim3(blocks < 1024 ? blocks : 1024, (unsigned)count);
}

void d2v_cuda_adam_update(d2v_device *dev, const d2v_adam *op) {
	double correction1 = 1 - pow(op->beta1, (double)op->step), correction2 = 1 - pow(op->beta2, (double)op->step);
	adam_numbers n = { (float)op->beta1, (float)op->beta2, (float)(1 - op->beta1), (float)(1 - op->beta2),
		(float)(op->lr * op->weight_decay), (float)(op->lr * sqrt(correction2) / correction1), (float)op->grad_scale,
		(float)op->eps };
	for (int64_t first = 0; first < op->range_count; first += RANGES) {
		range_list list;
		int64_t longest = take_ranges(&list, op->ranges, NULL, first, op->range_count);
		if (longest)
			D2V_BY_TYPE(dev, D2V_LAUNCH(dev, adam<T>, range_grid(longest, list.count), THREADS, 0, *op, list, n));
	}
}

// Two rounded operations, as the original's.
template <class T> static __global__ void average(d2v_ema op, range_list list, float keep, float take) {
	d2v_range range = list.range[blockIdx.y];
	const float *student = op.student + list.other[blockIdx.y].offset;
	for (int64_t at = thread_number(); at < range.count; at += thread_count()) {
		int64_t i = range.offset + at;
		float t = __fadd_rn(__fmul_rn(op.teacher[i], keep), __fmul_rn(student[at], take));
		op.teacher[i] = t;
		if (op.working)
			((T *)op.working)[i] = from_float<T>(t);
	}
}

void d2v_cuda_ema_update(d2v_device *dev, const d2v_ema *op) {
	for (int64_t first = 0; first < op->range_count; first += RANGES) {
		range_list list;
		int64_t longest = take_ranges(&list, op->teacher_ranges, op->student_ranges, first, op->range_count);
		if (longest)
			D2V_BY_TYPE(dev, D2V_LAUNCH(dev, average<T>, range_grid(longest, list.count), THREADS, 0, *op, list,
				(float)(1 - op->rate), (float)op->rate));
	}
}
