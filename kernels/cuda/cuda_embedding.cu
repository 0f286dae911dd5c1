// Patches of pictures, and tokens to vectors.
//
// The gradient of a table's row is the sum over the places of its token, in their order: the block of a token's first
// place finds the others and adds them. That looks at every pair of places, a thousand million comparisons for 32,000
// tokens, which lie in the cache; it needs neither sorting nor atomics.
#include "kernels/cuda/launch.cuh"

#define THREADS 256

// A thread writes N elements, which are pixels that follow each other in a row of a patch.
template <class T, int N> static __global__ void cut_patches(d2v_patches op, unsigned packs) {
	unsigned p = (unsigned)op.patch, across = (unsigned)op.width / p, down = (unsigned)op.height / p, in = (unsigned)op.in;
	for (int64_t item = thread_number(); item < packs; item += thread_count()) {
		unsigned pack = (unsigned)item, per_row = p / N, v = pack % per_row * N, u = pack / per_row % p;
		unsigned i = pack / (per_row * p) % in, patch = pack / (per_row * p * in), b = patch / (down * across);
		int64_t row = patch % (down * across) / across * p + u, column = patch % across * p + v;
		float values[N];
		if (op.image) { // three channels
			float mean = i == 0 ? op.mean[0] : i == 1 ? op.mean[1] : op.mean[2];
			float rstd = i == 0 ? op.rstd[0] : i == 1 ? op.rstd[1] : op.rstd[2];
			const uint8_t *from = op.image + ((b * op.height + row) * op.width + column) * 3 + i;
#pragma unroll
			for (int j = 0; j < N; j++)
				values[j] = ((float)from[3 * j] * (1.0f / 255.0f) - mean) * rstd;
		} else {
			const T *from = (const T *)op.pixels + ((b * op.in + i) * op.height + row) * op.width + column;
#pragma unroll
			for (int j = 0; j < N; j++)
				values[j] = to_float(from[j]);
		}
		store_pack((T *)op.y + item * N, values);
	}
}

void d2v_cuda_patches_forward(d2v_device *dev, const d2v_patches *op) {
	int64_t count = op->batch * (op->height / op->patch) * (op->width / op->patch) * op->in * op->patch * op->patch;
	if (count && op->patch % 4 == 0)
		D2V_BY_TYPE(dev, D2V_LAUNCH(dev, (cut_patches<T, 4>), d2v_blocks(count / 4, THREADS), THREADS, 0, *op, (unsigned)(count / 4)));
	else if (count)
		D2V_BY_TYPE(dev, D2V_LAUNCH(dev, (cut_patches<T, 1>), d2v_blocks(count, THREADS), THREADS, 0, *op, (unsigned)count));
}

// ---- tokens

// places[b, t]: the row of the table of positions.
static __global__ void find_places(int32_t *places, d2v_embedding op) {
	int64_t count = op.batch * op.tokens;
	for (int64_t at = thread_number(); at < count; at += thread_count()) {
		const int32_t *row = op.x + at / op.tokens * op.tokens;
		int64_t t = at % op.tokens, place = op.pad;
		for (int64_t i = 0; i <= t; i++)
			place += row[i] != op.pad;
		places[at] = (int32_t)(row[t] == op.pad ? op.pad : place);
	}
}

// NULL: the device has the error.
static int32_t *make_places(d2v_device *dev, const d2v_embedding *op) {
	int64_t count = op->batch * op->tokens;
	int32_t *places = (int32_t *)d2v_cuda_scratch(dev, (size_t)count * sizeof *places);
	if (places)
		D2V_LAUNCH(dev, find_places, d2v_blocks(count, THREADS), THREADS, 0, places, *op);
	return places;
}

template <class T> static __global__ void embed(d2v_embedding op, const int32_t *places) {
	int64_t count = op.batch * op.tokens * op.width;
	for (int64_t at = thread_number(); at < count; at += thread_count()) {
		int64_t token = at / op.width, c = at % op.width;
		float v = op.scale * to_float(((const T *)op.table)[op.x[token] * op.width + c]);
		if (op.positions)
			v += to_float(((const T *)op.positions)[places[token] * op.width + c]);
		((T *)op.y)[at] = from_float<T>(v);
	}
}

void d2v_cuda_embedding_forward(d2v_device *dev, const d2v_embedding *op) {
	int64_t count = op->batch * op->tokens * op->width;
	if (count == 0)
		return;
	int32_t *places = make_places(dev, op);
	if (places)
		D2V_BY_TYPE(dev, D2V_LAUNCH(dev, embed<T>, d2v_blocks(count, THREADS), THREADS, 0, *op, (const int32_t *)places));
}

// d_table[keys[i], :] += scale * d_y[i, :], over all i whose key is not `skip`.
template <class T>
static __global__ void scatter(float *d_table, const T *d_y, const int32_t *keys, int64_t count, int64_t width, int64_t skip, float scale) {
	__shared__ int taken;
	__shared__ bool match[THREADS];
	int64_t first = blockIdx.x;
	int32_t key = keys[first];
	if (key == skip)
		return;
	if (threadIdx.x == 0)
		taken = 0;
	__syncthreads();
	for (int64_t i = threadIdx.x; i < first; i += THREADS)
		if (keys[i] == key)
			taken = 1;
	__syncthreads();
	if (taken)
		return;
	for (int64_t c0 = 0; c0 < width; c0 += THREADS) {
		int64_t c = c0 + threadIdx.x;
		float sum = 0;
		for (int64_t i0 = first; i0 < count; i0 += THREADS) {
			match[threadIdx.x] = i0 + threadIdx.x < count && keys[i0 + threadIdx.x] == key;
			__syncthreads();
			for (int i = 0; i < THREADS && c < width; i++)
				if (match[i])
					sum += to_float(d_y[(i0 + i) * width + c]);
			__syncthreads();
		}
		if (c < width)
			d_table[key * width + c] += scale * sum;
	}
}

void d2v_cuda_embedding_backward(d2v_device *dev, const d2v_embedding *op) {
	int64_t tokens = op->batch * op->tokens;
	if (tokens * op->width == 0)
		return;
	if (op->d_table)
		D2V_BY_TYPE(dev, D2V_LAUNCH(dev, scatter<T>, (unsigned)tokens, THREADS, 0, op->d_table, (const T *)op->d_y, op->x, tokens,
			op->width, op->pad, op->scale));
	if (!op->d_positions)
		return;
	int32_t *places = make_places(dev, op);
	if (places)
		D2V_BY_TYPE(dev, D2V_LAUNCH(dev, scatter<T>, (unsigned)tokens, THREADS, 0, op->d_positions, (const T *)op->d_y,
			(const int32_t *)places, tokens, op->width, op->pad, 1.0f));
}
