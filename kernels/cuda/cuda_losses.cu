// Regression and CLS losses with their gradients, and the spread of predictions and targets.
#include "kernels/cuda/launch.cuh"

#define THREADS 256
#define PIECES 1024 // at most, of the masked positions: enough to fill any card
#define FLIGHT 4 // positions whose loads are under way together
#define TABLE 64 // positions whose places a block works out at a time

typedef struct loss_rule {
	float beta, scale, slope, limit; // slope: of the gradient inside beta; limit: outside
} loss_rule;

static loss_rule make_loss_rule(float beta, float scale, float weight) {
	loss_rule rule = { beta, scale, beta == 0 ? 2.0f * scale * weight : scale * weight / beta, scale * weight };
	return rule;
}

static __device__ __forceinline__ float element_loss(const loss_rule &rule, float d) {
	float size = fabsf(d);
	if (rule.beta == 0)
		return rule.scale * d * d;
	return rule.scale * (size < rule.beta ? 0.5f * d * d / rule.beta : size - 0.5f * rule.beta);
}

static __device__ __forceinline__ float element_slope(const loss_rule &rule, float d) {
	return rule.beta == 0 || fabsf(d) < rule.beta ? rule.slope * d : copysignf(rule.limit, d);
}

// ---- regression

// Masked positions are cut into pieces by their number alone. partial, per piece `stride` apart: the losses of the blocks that
// share the piece, then sums and sums of squares of predictions and of targets, (4, width).
typedef struct regression_pieces {
	int64_t piece, stride;
	int blocks; // across
} regression_pieces;

// What a thread adds up of a column over a piece, in f32: differences from the column's first value, so that a column that
// hardly varies keeps its variance.
template <int N> struct column_moments {
	float first[N], sum[N], square[N];

	__device__ __forceinline__ void start(const float (&v)[N]) {
#pragma unroll
		for (int i = 0; i < N; i++)
			first[i] = v[i], sum[i] = 0, square[i] = 0;
	}
	__device__ __forceinline__ void add(const float (&v)[N]) {
#pragma unroll
		for (int i = 0; i < N; i++) {
			float d = v[i] - first[i];
			sum[i] += d;
			square[i] += d * d;
		}
	}
	// Sums and sums of squares of the values themselves, of `count` of them.
	__device__ __forceinline__ void store(double *sums, double *squares, int64_t count) const {
#pragma unroll
		for (int i = 0; i < N; i++) {
			double n = (double)count, f = (double)first[i], s = (double)sum[i];
			sums[i] = s + n * f;
			squares[i] = (double)square[i] + 2 * f * s + n * f * f;
		}
	}
};

// Position `at` of the predictions, and that of its sample's target; behind the last masked one the end of all.
typedef struct masked_place {
	int64_t at, target;
} masked_place;

static __device__ __forceinline__ masked_place find_place(const d2v_regression &op, int64_t i) {
	if (i < 0 || i >= op.masked_count)
		return masked_place{ i < 0 ? -1 : op.batch * op.clones * op.tokens, 0 };
	unsigned at = (unsigned)(op.masked[i] - op.masked_first), tokens = (unsigned)op.tokens, row = at / tokens;
	return masked_place{ at, (int64_t)(row / (unsigned)op.clones) * tokens + at % tokens };
}

template <class T, int N> static __device__ __forceinline__ void zero_between(T *d, int64_t from, int64_t to, int64_t width) {
	const float zeros[N] = { 0 };
	for (; from < to; from++)
		store_pack(d + from * width, zeros);
}

// A thread has N channels of the piece's positions, in order. Of d_pred it also clears what lies between them.
template <class T, int N>
static __global__ void __launch_bounds__(THREADS) regression(d2v_regression op, loss_rule rule, double *partial, regression_pieces pieces) {
	__shared__ double warps[THREADS / 32];
	__shared__ masked_place places[TABLE + 1]; // the one before comes first
	int64_t width = op.width, column = ((int64_t)blockIdx.y * blockDim.x + threadIdx.x) * N;
	int64_t begin = blockIdx.x * pieces.piece, end = begin + pieces.piece;
	end = end < op.masked_count ? end : op.masked_count;
	bool mine = column < width;
	const T *pred = (const T *)op.pred + column;
	const float *target = op.target + column;
	T *d_pred = (T *)op.d_pred + column;
	column_moments<N> of_pred = {}, of_target = {};
	double loss = 0;
	for (int64_t first = begin; first < end; first += TABLE) {
		int count = (int)(end - first < TABLE ? end - first : TABLE);
		__syncthreads();
		for (int i = threadIdx.x; i <= count; i += blockDim.x)
			places[i] = find_place(op, first + i - 1);
		__syncthreads();
		for (int i = 1; mine && i <= count; i += FLIGHT) {
			float p[FLIGHT][N], y[FLIGHT][N];
#pragma unroll
			for (int r = 0; r < FLIGHT; r++) {
				masked_place place = places[i + r < count ? i + r : count];
				load_pack(p[r], pred + place.at * width);
				load_pack(y[r], target + place.target * width);
			}
			if (first == begin && i == 1)
				of_pred.start(p[0]), of_target.start(y[0]);
#pragma unroll
			for (int r = 0; r < FLIGHT; r++) {
				float d[N], sum = 0;
				if (i + r > count)
					continue;
				of_pred.add(p[r]), of_target.add(y[r]);
#pragma unroll
				for (int k = 0; k < N; k++) {
					float difference = p[r][k] - y[r][k];
					sum += element_loss(rule, difference);
					d[k] = element_slope(rule, difference);
				}
				loss += (double)sum;
				if (op.d_pred) {
					zero_between<T, N>(d_pred, places[i + r - 1].at + 1, places[i + r].at, width);
					store_pack(d_pred + places[i + r].at * width, d);
				}
			}
		}
	}
	double *out = partial + blockIdx.x * pieces.stride;
	if (mine) {
		double *moments = out + pieces.blocks + column;
		of_pred.store(moments, moments + width, end - begin);
		of_target.store(moments + 2 * width, moments + 3 * width, end - begin);
		if (op.d_pred && end == op.masked_count)
			zero_between<T, N>(d_pred, find_place(op, end - 1).at + 1, find_place(op, end).at, width);
	}
	loss = block_sum_of(loss, warps);
	if (threadIdx.x == 0)
		out[blockIdx.y] = loss;
}

// spread[0 or 1, column] = sqrt(unbiased variance + 1e-6) of predictions or targets; fewer than two positions have none. A
// block takes 32 columns of one, its warps pieces in turn.
static __global__ void column_spread(double *spread, const double *partial, int64_t count, regression_pieces pieces, int64_t pieces_count, int64_t width) {
	__shared__ double sums[32][32], squares[32][32];
	int64_t column = (int64_t)blockIdx.x * 32 + threadIdx.x;
	const double *from = partial + pieces.blocks + 2 * blockIdx.y * width + column;
	double sum = 0, square = 0, n = (double)count;
	if (column < width) {
#pragma unroll 4
		for (int64_t piece = threadIdx.y; piece < pieces_count; piece += 32) {
			sum += from[piece * pieces.stride];
			square += from[piece * pieces.stride + width];
		}
	}
	sums[threadIdx.y][threadIdx.x] = sum, squares[threadIdx.y][threadIdx.x] = square;
	__syncthreads();
	if (threadIdx.y || column >= width)
		return;
	for (int warp = 1; warp < 32; warp++)
		sum += sums[warp][threadIdx.x], square += squares[warp][threadIdx.x];
	double variance = count < 2 ? 0 : square / (n - 1) - sum * sum / (n * (n - 1));
	spread[blockIdx.y * width + column] = sqrt((variance < 0 ? 0 : variance) + 1e-6);
}

// Adds up the losses and takes the means of the spreads. One block.
static __global__ void regression_sums(d2v_regression op, const double *spread, const double *partial, int64_t count, regression_pieces pieces) {
	__shared__ double warps[THREADS / 32];
	double loss = 0, of[2] = { 0, 0 };
	for (int64_t i = threadIdx.x; i < count * pieces.blocks; i += THREADS)
		loss += partial[i / pieces.blocks * pieces.stride + i % pieces.blocks];
	for (int64_t c = threadIdx.x; count && c < op.width; c += THREADS)
		of[0] += spread[c], of[1] += spread[op.width + c];
	loss = block_sum<THREADS>(loss, warps);
	for (int k = 0; k < 2; k++)
		of[k] = op.width ? block_sum<THREADS>(of[k], warps) / (double)op.width : 0;
	if (threadIdx.x)
		return;
	*op.loss = (double)op.weight * loss;
	if (op.pred_var)
		*op.pred_var = count || op.width == 0 ? of[0] : sqrt(1e-6);
	if (op.target_var)
		*op.target_var = count || op.width == 0 ? of[1] : sqrt(1e-6);
}

template <class T, int N> static void run_regression(d2v_device *dev, const d2v_regression *op) {
	int64_t packs = op->width / N, most = packs < THREADS ? packs : THREADS, threads = (most + 31) / 32 * 32;
	regression_pieces pieces = { (op->masked_count + PIECES - 1) / PIECES, 0, (int)((packs + threads - 1) / threads) };
	int64_t count = (op->masked_count + pieces.piece - 1) / pieces.piece;
	pieces.stride = pieces.blocks + 4 * op->width;
	double *partial = (double *)d2v_cuda_scratch(dev, (size_t)(count * pieces.stride + 2 * op->width) * sizeof *partial);
	double *spread = partial + count * pieces.stride;
	if (!partial)
		return;
	D2V_LAUNCH(dev, (regression<T, N>), dim3((unsigned)count, (unsigned)pieces.blocks), (unsigned)threads, 0, *op,
		make_loss_rule(op->beta, op->scale, op->weight), partial, pieces);
	D2V_LAUNCH(dev, column_spread, dim3(d2v_blocks(op->width, 32), 2), dim3(32, 32), 0, spread, (const double *)partial,
		op->masked_count, pieces, count, op->width);
	D2V_LAUNCH(dev, regression_sums, 1, THREADS, 0, *op, (const double *)spread, (const double *)partial, count, pieces);
}

void d2v_cuda_regression_loss(d2v_device *dev, const d2v_regression *op) {
	if (op->masked_count && op->width) {
		if (op->width % 4 == 0)
			D2V_BY_TYPE(dev, run_regression<T, 4>(dev, op));
		else
			D2V_BY_TYPE(dev, run_regression<T, 1>(dev, op));
		return;
	}
	size_t elements = (size_t)(op->batch * op->clones * op->tokens * op->width);
	if (op->d_pred && elements)
		dev->backend->zero(dev, op->d_pred, elements * dev->real_size);
	D2V_LAUNCH(dev, regression_sums, 1, THREADS, 0, *op, (const double *)NULL, (const double *)NULL, (int64_t)0, regression_pieces{ 1, 0, 1 });
}

// ---- CLS

// Block: one sample. Its mean target in shared memory, then the extra token of each of its copies.
template <class T> static __global__ void cls(d2v_cls op, loss_rule rule, double *partial) {
	__shared__ double warps[THREADS / 32];
	int64_t width = op.width, b = blockIdx.x;
	double loss = 0;
	for (int64_t c = threadIdx.x; c < width; c += THREADS) {
		double sum = 0;
		for (int64_t t = 0; t < op.tokens; t++)
			sum += (double)op.target[(b * op.tokens + t) * width + c];
		float mean = (float)(sum / (double)op.tokens);
		for (int64_t row = b * op.clones; row < (b + 1) * op.clones; row++) {
			int64_t at = (row * op.row_tokens + op.extra_tokens - 1) * width + c;
			float d = to_float(((const T *)op.x)[at]) - mean;
			T *d_x = (T *)op.d_x + at;
			loss += (double)element_loss(rule, d);
			if (op.d_x)
				*d_x = from_float<T>(to_float(*d_x) + element_slope(rule, d));
		}
	}
	loss = block_sum<THREADS>(loss, warps);
	if (threadIdx.x == 0)
		partial[b] = loss;
}

static __global__ void cls_sum(d2v_cls op, const double *partial) {
	__shared__ double warps[THREADS / 32];
	double loss = 0;
	for (int64_t b = threadIdx.x; b < op.batch; b += THREADS)
		loss += partial[b];
	loss = block_sum<THREADS>(loss, warps);
	if (threadIdx.x == 0)
		*op.loss = (double)op.weight * loss;
}

void d2v_cuda_cls_loss(d2v_device *dev, const d2v_cls *op) {
	double *partial = (double *)d2v_cuda_scratch(dev, (size_t)(op->batch + 1) * sizeof *partial);
	if (!partial)
		return;
	if (op->batch)
		D2V_BY_TYPE(dev, D2V_LAUNCH(dev, cls<T>, (unsigned)op->batch, THREADS, 0, *op,
			make_loss_rule(op->beta, op->scale, op->weight), partial));
	D2V_LAUNCH(dev, cls_sum, 1, THREADS, 0, *op, (const double *)partial);
}
