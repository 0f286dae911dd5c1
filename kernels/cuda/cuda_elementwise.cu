// Element by element: conversions, dropout, addition, the waveform's normalisation.
#include "kernels/cuda/draws.cuh"

#define THREADS 256

template <class To, class From> static __global__ void convert(To *to, const From *from, int64_t count) {
	for (int64_t i = thread_number(); i < count; i += thread_count())
		to[i] = from_float<To>(to_float(from[i]));
}

void d2v_cuda_to_real(d2v_device *dev, d2v_real *to, const float *from, size_t count) {
	dev->backend->enter(dev);
	D2V_BY_TYPE(dev, D2V_LAUNCH(dev, (convert<T, float>), d2v_blocks((int64_t)count, THREADS), THREADS, 0, (T *)to, from, (int64_t)count));
}

void d2v_cuda_to_float(d2v_device *dev, float *to, const d2v_real *from, size_t count) {
	dev->backend->enter(dev);
	D2V_BY_TYPE(dev, D2V_LAUNCH(dev, (convert<float, T>), d2v_blocks((int64_t)count, THREADS), THREADS, 0, to, (const T *)from, (int64_t)count));
}

// A thread takes N elements: four are one block of draws.
template <class T, int N>
static __global__ void drop_elements(T *y, const T *x, drop_rule rule, bool accumulate, int64_t count) {
	for (int64_t first = thread_number() * N; first < count; first += thread_count() * N) {
		float values[N] = { 0 };
#pragma unroll
		for (int i = 0; i < N; i++)
			values[i] = first + i < count ? to_float(x[first + i]) : 0.0f;
		drop_pack(values, rule, first);
#pragma unroll
		for (int i = 0; i < N; i++)
			if (first + i < count)
				y[first + i] = from_float<T>(accumulate ? to_float(y[first + i]) + values[i] : values[i]);
	}
}

void d2v_cuda_drop(d2v_device *dev, d2v_real *y, const d2v_real *x, d2v_dropout drop, bool accumulate, int64_t count) {
	drop_rule rule = make_drop_rule(&drop);
	if (count && rule.span == 1)
		D2V_BY_TYPE(dev, D2V_LAUNCH(dev, (drop_elements<T, 4>), d2v_blocks(count, 4 * THREADS), THREADS, 0, (T *)y,
			(const T *)x, rule, accumulate, count));
	else if (count)
		D2V_BY_TYPE(dev, D2V_LAUNCH(dev, (drop_elements<T, 1>), d2v_blocks(count, THREADS), THREADS, 0, (T *)y, (const T *)x,
			rule, accumulate, count));
}

template <class T> static __global__ void add_elements(T *y, const T *x, float a, int64_t count) {
	for (int64_t i = thread_number(); i < count; i += thread_count())
		y[i] = from_float<T>(to_float(y[i]) + a * to_float(x[i]));
}

void d2v_cuda_add(d2v_device *dev, d2v_real *y, const d2v_real *x, float a, int64_t count) {
	if (count)
		D2V_BY_TYPE(dev, D2V_LAUNCH(dev, add_elements<T>, d2v_blocks(count, THREADS), THREADS, 0, (T *)y, (const T *)x, a, count));
}

template <class T> static __global__ void normalise_wave(d2v_wave op) {
	int64_t count = op.batch * op.length;
	for (int64_t i = thread_number(); i < count; i += thread_count()) {
		int64_t b = i / op.length;
		((T *)op.y)[i] = from_float<T>(((float)op.x[i] * (1.0f / 32768.0f) - op.mean[b]) * op.rstd[b]);
	}
}

void d2v_cuda_wave_forward(d2v_device *dev, const d2v_wave *op) {
	int64_t count = op->batch * op->length;
	if (count)
		D2V_BY_TYPE(dev, D2V_LAUNCH(dev, normalise_wave<T>, d2v_blocks(count, THREADS), THREADS, 0, *op));
}
