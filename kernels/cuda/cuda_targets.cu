// Targets: the mean of the teacher's last layers, each normalised over time or channels. Indexed by sample; the clones
// never see a copy.
//
// Layers that are normalised over time alone go through cuda_targets_strips.cu, and those that are not normalised over time
// through one kernel that keeps a token in the registers of a warp. What is left (both norms of a layer, batch norm, odd
// widths, more tokens than fit the chip) takes three: statistics over time of (sample, channel), one layer after another; the mean over
// layers, a block a token; and when asked for statistics of that and a last pass.
#include "kernels/cuda/row.cuh"
#include "kernels/cuda/targets.cuh"

#include <math.h>

#define THREADS 256
#define WARPS 4 // of a block that takes tokens in registers

// ---- tokens in registers

template <class T, int N, int CHUNKS>
static __global__ void __launch_bounds__(32 * WARPS) average_tokens(d2v_target op, layer_list list) {
	int64_t token = (int64_t)blockIdx.x * WARPS + threadIdx.y, b = token / op.tokens;
	int width = (int)op.width;
	if (token >= op.batch * op.tokens)
		return;
	int64_t at = (token + (b + 1) * op.extra_tokens) * width;
	float share = 1.0f / (float)width, part = 1.0f / (float)op.count;
	row_part<T, N, CHUNKS> y = {};
	row_packs<T, N, CHUNKS> next;
	next.clear();
	if (op.count)
		next.load((const T *)list.layer[0] + at, width);
	for (int64_t layer = 0; layer < op.count; layer++) {
		row_part<T, N, CHUNKS> x;
		x.take(next);
		if (layer + 1 < op.count)
			next.load((const T *)list.layer[layer + 1] + at, width);
		float factor = part;
		if (op.layer_norm_layer) {
			x.centre(share, width);
			factor *= 1.0f / sqrtf(x.squares() * share + TARGET_EPS);
		}
		y.add(x, factor);
	}
	if (op.layer_norm_mean) {
		y.centre(share, width);
		y.scale(1.0f / sqrtf(y.squares() * share + TARGET_EPS));
	}
	y.store(op.y + token * width, width);
}

template <class T, int CHUNKS> static bool run_tokens(d2v_device *dev, const d2v_target *op, const layer_list &list) {
	constexpr int wide = 16 / sizeof(T);
	if (op->width > 32 * wide * CHUNKS)
		return false;
	D2V_LAUNCH(dev, (average_tokens<T, wide, CHUNKS>), d2v_blocks(op->batch * op->tokens, WARPS), dim3(32, WARPS), 0, *op, list);
	return true;
}

// False: rows are too long for a warp's registers, or come in no packs.
template <class T> static bool average_in_registers(d2v_device *dev, const d2v_target *op, const layer_list &list) {
	return op->width % (16 / (int64_t)sizeof(T)) == 0 &&
		(run_tokens<T, 1>(dev, op, list) || run_tokens<T, 3>(dev, op, list) || run_tokens<T, 5>(dev, op, list));
}

// ---- whatever is asked for

// mean and rstd (batch, width) over the tokens of x (batch, skip + tokens, width). A block takes 32 channels of one
// sample, its warps tokens in turn; two passes over what then lies in the cache.
template <class T>
static __global__ void time_statistics(float *mean, float *rstd, const T *x, int64_t tokens, int64_t skip, int64_t width) {
	__shared__ double sums[THREADS / 32][32];
	int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
	int64_t channel = (int64_t)blockIdx.x * 32 + lane, b = blockIdx.y;
	const T *first = x + (b * (skip + tokens) + skip) * width + channel;
	double centre = 0;
	for (int pass = 0; pass < 2; pass++) {
		double sum = 0;
		for (int64_t t = warp; channel < width && t < tokens; t += THREADS / 32) {
			double v = (double)to_float(first[t * width]);
			sum += pass ? (v - centre) * (v - centre) : v;
		}
		sums[warp][lane] = sum;
		__syncthreads();
		double total = 0;
		for (int i = 0; i < THREADS / 32; i++)
			total += sums[i][lane];
		__syncthreads();
		total /= (double)tokens;
		if (pass == 0)
			centre = total;
		else if (warp == 0 && channel < width)
			rstd[b * width + channel] = (float)(1.0 / sqrt(total + (double)TARGET_EPS));
	}
	if (warp == 0 && channel < width)
		mean[b * width + channel] = (float)centre;
}

// Statistics (batch, width) of samples become those of the batch, a thread a channel; with instance norm after that, those
// of the samples of what it makes. 1 / rstd^2 is a variance plus TARGET_EPS.
static __global__ void pool_statistics(float *mean, float *rstd, int64_t batch, int64_t width, bool instances_after) {
	int64_t c = thread_number();
	if (c >= width)
		return;
	double centre = 0, square = 0, eps = (double)TARGET_EPS;
	for (int64_t b = 0; b < batch; b++)
		centre += (double)mean[b * width + c] / (double)batch;
	for (int64_t b = 0; b < batch; b++) {
		double off = (double)mean[b * width + c] - centre, own = (double)rstd[b * width + c];
		square += (1.0 / (own * own) + off * off) / (double)batch;
	}
	for (int64_t b = 0; b < batch; b++) {
		double own = (double)rstd[b * width + c];
		rstd[b * width + c] = (float)(1.0 / sqrt(instances_after ? 1.0 / (own * own) - eps + eps * square : square));
		if (!instances_after)
			mean[b * width + c] = (float)centre;
	}
}

// Layer norm of v (width), in place, by the block. Its thread i has the elements i, i + THREADS, ...
static __device__ void layer_norm(float *v, int64_t width, float *warps) {
	float sum = 0, square = 0;
	for (int64_t c = threadIdx.x; c < width; c += THREADS)
		sum += v[c];
	float mean = block_sum<THREADS>(sum, warps) / (float)width;
	for (int64_t c = threadIdx.x; c < width; c += THREADS)
		square += (v[c] - mean) * (v[c] - mean);
	float rstd = 1.0f / sqrtf(block_sum<THREADS>(square, warps) / (float)width + TARGET_EPS);
	for (int64_t c = threadIdx.x; c < width; c += THREADS)
		v[c] = (v[c] - mean) * rstd;
}

// mean, rstd: (layers, batch, width), with batch or instance norm of layers.
template <class T>
static __global__ void average_layers(d2v_target op, layer_list list, const float *mean, const float *rstd) {
	__shared__ float warps[THREADS / 32];
	D2V_SHARED(float, row); // v and y, (2, width)
	int64_t width = op.width, token = blockIdx.x, b = token / op.tokens, t = token % op.tokens;
	float *v = row, *y = row + width;
	bool over_tokens = op.batch_norm_layer || op.instance_norm_layer;
	for (int64_t c = threadIdx.x; c < width; c += THREADS)
		y[c] = 0;
	for (int64_t layer = 0; layer < op.count; layer++) {
		const T *x = (const T *)list.layer[layer] + (b * (op.extra_tokens + op.tokens) + op.extra_tokens + t) * width;
		int64_t at = (layer * op.batch + b) * width;
		for (int64_t c = threadIdx.x; c < width; c += THREADS)
			v[c] = over_tokens ? (to_float(x[c]) - mean[at + c]) * rstd[at + c] : to_float(x[c]);
		if (op.layer_norm_layer)
			layer_norm(v, width, warps);
		for (int64_t c = threadIdx.x; c < width; c += THREADS)
			y[c] += v[c];
	}
	for (int64_t c = threadIdx.x; c < width; c += THREADS)
		y[c] /= (float)op.count;
	if (op.layer_norm_mean)
		layer_norm(y, width, warps);
	for (int64_t c = threadIdx.x; c < width; c += THREADS)
		op.y[token * width + c] = y[c];
}

static __global__ void normalise_over_time(float *y, const float *mean, const float *rstd, int64_t tokens, int64_t width, int64_t count) {
	for (int64_t i = thread_number(); i < count; i += thread_count()) {
		int64_t at = i / (tokens * width) * width + i % width;
		y[i] = (y[i] - mean[at]) * rstd[at];
	}
}

static dim3 statistics_grid(const d2v_target *op) {
	return dim3(d2v_blocks(op->width, 32), (unsigned)op->batch);
}

// The mean over layers, with what comes before and the layer norm after it.
static void average_anyhow(d2v_device *dev, const d2v_target *op, const layer_list &list) {
	int64_t set = op->batch * op->width, sets = op->count > 1 ? op->count : 1;
	float *mean = (float *)d2v_cuda_scratch(dev, (size_t)(2 * sets * set) * sizeof *mean), *rstd = mean + sets * set;
	if (!mean)
		return;
	bool over_tokens = op->batch_norm_layer || op->instance_norm_layer;
	for (int64_t layer = 0; layer < op->count && over_tokens; layer++) {
		D2V_BY_TYPE(dev, D2V_LAUNCH(dev, time_statistics<T>, statistics_grid(op), THREADS, 0, mean + layer * set, rstd + layer * set,
			(const T *)op->layers[layer], op->tokens, op->extra_tokens, op->width));
		if (op->batch_norm_layer)
			D2V_LAUNCH(dev, pool_statistics, d2v_blocks(op->width, THREADS), THREADS, 0, mean + layer * set, rstd + layer * set,
				op->batch, op->width, op->instance_norm_layer);
	}
	D2V_BY_TYPE(dev, D2V_LAUNCH(dev, average_layers<T>, (unsigned)(op->batch * op->tokens), THREADS,
		(size_t)(2 * op->width) * sizeof(float), *op, list, (const float *)mean, (const float *)rstd));
}

// The instance norm of the mean.
static void normalise_anyhow(d2v_device *dev, const d2v_target *op) {
	int64_t set = op->batch * op->width, count = op->tokens * set;
	float *mean = (float *)d2v_cuda_scratch(dev, (size_t)(2 * set) * sizeof *mean), *rstd = mean + set;
	if (!mean)
		return;
	D2V_LAUNCH(dev, time_statistics<float>, statistics_grid(op), THREADS, 0, mean, rstd, (const float *)op->y, op->tokens, (int64_t)0,
		op->width);
	D2V_LAUNCH(dev, normalise_over_time, d2v_blocks(count, THREADS), THREADS, 0, op->y, (const float *)mean, (const float *)rstd,
		op->tokens, op->width, count);
}

void d2v_cuda_target_forward(d2v_device *dev, const d2v_target *op) {
	bool done = false;
	if (op->batch * op->tokens * op->width == 0)
		return;
	if (op->count > TARGET_LAYERS) {
		d2v_device_set_error(
			dev, D2V_UNSUPPORTED, "targets of %lld layers; the GPU takes up to %d", (long long)op->count, TARGET_LAYERS);
		return;
	}
	layer_list list = { { 0 } };
	for (int64_t layer = 0; layer < op->count; layer++)
		list.layer[layer] = op->layers[layer];
	if (op->batch_norm_layer)
		done = false;
	else if (!op->instance_norm_layer)
		D2V_BY_TYPE(dev, done = average_in_registers<T>(dev, op, list));
	else if (!op->layer_norm_layer && op->count)
		done = d2v_cuda_target_strips(dev, op, list);
	if (!done)
		average_anyhow(dev, op, list);
	if (op->instance_norm_mean && !d2v_cuda_target_strips_of_mean(dev, op))
		normalise_anyhow(dev, op);
}
