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

#define N 4 // elements of a thread where a range allows it

// One element. Written operation by operation: no fused multiply-adds, so that the numbers are the CPU's.
static __device__ __forceinline__ void adam_element(float &param, float &m, float &v, float grad, const adam_numbers &n) {
	float g = __fmul_rn(grad, n.scale);
	m = __fadd_rn(__fmul_rn(m, n.beta1), __fmul_rn(g, n.rest1));
	v = __fadd_rn(__fmul_rn(v, n.beta2), __fmul_rn(__fmul_rn(g, g), n.rest2));
	param = __fadd_rn(param, -__fmul_rn(n.decay, param));
	param = __fadd_rn(param, -__fmul_rn(n.rate, m / __fadd_rn(sqrtf(v), n.eps)));
}

// Elements [i, i + COUNT).
template <class T, int COUNT>
static __device__ __forceinline__ void adam_elements(const d2v_adam &op, const adam_numbers &n, int64_t i) {
	float p[COUNT], m[COUNT], v[COUNT], g[COUNT];
	load_pack(p, op.param + i);
	load_pack(g, op.grad + i);
	load_pack(m, op.m + i);
	load_pack(v, op.v + i);
#pragma unroll
	for (int j = 0; j < COUNT; j++)
		adam_element(p[j], m[j], v[j], g[j], n);
	store_pack(op.m + i, m);
	store_pack(op.v + i, v);
	store_pack(op.param + i, p);
	if (op.working)
		store_pack((T *)op.working + i, p);
}

// Of a range's elements the first `single` are taken one by one, up to where packs lie on their boundaries, then packs, then
// what is left. Arrays themselves start on boundaries.
static __device__ __forceinline__ int64_t elements_before_packs(const d2v_range &range, int64_t other) {
	int64_t single = range.offset % N == other % N ? (N - range.offset % N) % N : range.count;
	return single < range.count ? single : range.count;
}

// Range blockIdx.y.
template <class T> static __global__ void adam(d2v_adam op, range_list list, adam_numbers n) {
	d2v_range range = list.range[blockIdx.y];
	int64_t single = elements_before_packs(range, range.offset), packs = (range.count - single) / N, first = range.offset + single;
	for (int64_t at = thread_number(); at < packs; at += thread_count())
		adam_elements<T, N>(op, n, first + at * N);
	for (int64_t at = thread_number(); at < range.count - packs * N; at += thread_count())
		adam_elements<T, 1>(op, n, at < single ? range.offset + at : first + packs * N + at - single);
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
	unsigned blocks = d2v_blocks(longest, N * THREADS);
	return dim3(blocks < 4096 ? blocks : 4096, (unsigned)count);
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
template <class T, int COUNT>
static __device__ __forceinline__ void average_elements(const d2v_ema &op, float keep, float take, int64_t i, int64_t from) {
	float t[COUNT], s[COUNT];
	load_pack(t, op.teacher + i);
	load_pack(s, op.student + from);
#pragma unroll
	for (int j = 0; j < COUNT; j++)
		t[j] = __fadd_rn(__fmul_rn(t[j], keep), __fmul_rn(s[j], take));
	store_pack(op.teacher + i, t);
	if (op.working)
		store_pack((T *)op.working + i, t);
}

template <class T> static __global__ void average(d2v_ema op, range_list list, float keep, float take) {
	d2v_range range = list.range[blockIdx.y];
	int64_t other = list.other[blockIdx.y].offset, single = elements_before_packs(range, other);
	int64_t packs = (range.count - single) / N;
	for (int64_t at = thread_number(); at < packs; at += thread_count())
		average_elements<T, N>(op, keep, take, range.offset + single + at * N, other + single + at * N);
	for (int64_t at = thread_number(); at < range.count - packs * N; at += thread_count()) {
		int64_t i = at < single ? at : at + packs * N;
		average_elements<T, 1>(op, keep, take, range.offset + i, other + i);
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
