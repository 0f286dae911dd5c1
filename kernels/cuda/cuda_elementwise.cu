// Element by element: conversions, dropout, addition, the waveform's normalisation.
#include "kernels/cuda/draws.cuh"

#define THREADS 256

#define N 4 // elements of a thread where arrays allow it

// Whether packs of N elements of T and of f32 lie on their boundaries in both arrays.
static bool in_packs(const void *a, const void *b, int64_t count) {
	return count % N == 0 && (((uintptr_t)a | (uintptr_t)b) % (N * sizeof(float))) == 0;
}

template <class To, class From, int WIDE> static __global__ void convert(To *to, const From *from, int64_t packs) {
	for (int64_t i = thread_number(); i < packs; i += thread_count()) {
		float v[WIDE];
		load_pack(v, from + i * WIDE);
		store_pack(to + i * WIDE, v);
	}
}

template <class To, class From> static void run_convert(d2v_device *dev, To *to, const From *from, int64_t count) {
	dev->backend->enter(dev);
	if (in_packs(to, from, count))
		D2V_LAUNCH(dev, (convert<To, From, N>), d2v_blocks(count / N, THREADS), THREADS, 0, to, from, count / N);
	else
		D2V_LAUNCH(dev, (convert<To, From, 1>), d2v_blocks(count, THREADS), THREADS, 0, to, from, count);
}

void d2v_cuda_to_real(d2v_device *dev, d2v_real *to, const float *from, size_t count) {
	D2V_BY_TYPE(dev, run_convert(dev, (T *)to, from, (int64_t)count));
}

void d2v_cuda_to_float(d2v_device *dev, float *to, const d2v_real *from, size_t count) {
	D2V_BY_TYPE(dev, run_convert(dev, to, (const T *)from, (int64_t)count));
}

template <class T, int WIDE>
static __global__ void drop_elements(T *y, const T *x, drop_rule rule, bool accumulate, int64_t packs) {
	for (int64_t i = thread_number(); i < packs; i += thread_count()) {
		float values[WIDE], before[WIDE] = { 0 };
		load_pack(values, x + i * WIDE);
		if (accumulate)
			load_pack(before, (const T *)y + i * WIDE);
		drop_pack(values, rule, i * WIDE);
#pragma unroll
		for (int j = 0; j < WIDE; j++)
			values[j] += before[j];
		store_pack(y + i * WIDE, values);
	}
}

// In packs of 16 bytes: in 16 bits a thread's eight elements are one block of draws.
template <class T>
static void run_drop(d2v_device *dev, T *y, const T *x, const d2v_dropout *drop, bool accumulate, int64_t count) {
	constexpr int WIDE = 16 / sizeof(T);
	drop_rule rule = make_drop_rule(drop);
	if (in_packs(y, x, count) && count % WIDE == 0 && fits_packs(drop, WIDE))
		D2V_LAUNCH(dev, (drop_elements<T, WIDE>), d2v_blocks(count / WIDE, THREADS), THREADS, 0, y, x, rule, accumulate,
			count / WIDE);
	else
		D2V_LAUNCH(dev, (drop_elements<T, 1>), d2v_blocks(count, THREADS), THREADS, 0, y, x, rule, accumulate, count);
}

void d2v_cuda_drop(d2v_device *dev, d2v_real *y, const d2v_real *x, d2v_dropout drop, bool accumulate, int64_t count) {
	if (count)
		D2V_BY_TYPE(dev, run_drop(dev, (T *)y, (const T *)x, &drop, accumulate, count));
}

template <class T, int WIDE> static __global__ void add_elements(T *y, const T *x, float a, int64_t packs) {
	for (int64_t i = thread_number(); i < packs; i += thread_count()) {
		float sum[WIDE], more[WIDE];
		load_pack(sum, (const T *)y + i * WIDE);
		load_pack(more, x + i * WIDE);
#pragma unroll
		for (int j = 0; j < WIDE; j++)
			sum[j] += a * more[j];
		store_pack(y + i * WIDE, sum);
	}
}

void d2v_cuda_add(d2v_device *dev, d2v_real *y, const d2v_real *x, float a, int64_t count) {
	if (count && in_packs(y, x, count))
		D2V_BY_TYPE(dev, D2V_LAUNCH(dev, (add_elements<T, N>), d2v_blocks(count / N, THREADS), THREADS, 0, (T *)y, (const T *)x,
			a, count / N));
	else if (count)
		D2V_BY_TYPE(dev, D2V_LAUNCH(dev, (add_elements<T, 1>), d2v_blocks(count, THREADS), THREADS, 0, (T *)y, (const T *)x, a, count));
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
