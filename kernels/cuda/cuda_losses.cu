// Regression and CLS losses with their gradients, and the spread of predictions and targets.
#include "kernels/cuda/launch.cuh"

#define THREADS 256
#define PIECE 64 // masked positions of a block

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

// Block (piece): thread i has the channels i, i + THREADS, ... of the piece's positions. partial, per piece `stride`
// apart: the loss, then sums and sums of squares of predictions and of targets, (4, width).
template <class T> static __global__ void regression(d2v_regression op, loss_rule rule, double *partial, int64_t stride) {
	__shared__ double warps[THREADS / 32];
	int64_t width = op.width, first = (int64_t)blockIdx.x * PIECE;
	int64_t end = first + PIECE < op.masked_count ? first + PIECE : op.masked_count;
	double *mine = partial + blockIdx.x * stride, loss = 0;
	for (int64_t c = threadIdx.x; c < width; c += THREADS) {
		double moments[4] = { 0 };
		for (int64_t i = first; i < end; i++) {
			int64_t at = op.masked[i], row = at / op.tokens;
			float p = to_float(((const T *)op.pred)[at * width + c]);
			float y = op.target[(row / op.clones * op.tokens + at % op.tokens) * width + c];
			loss += (double)element_loss(rule, p - y);
			if (op.d_pred)
				((T *)op.d_pred)[at * width + c] = from_float<T>(element_slope(rule, p - y));
			moments[0] += (double)p, moments[1] += (double)p * (double)p;
			moments[2] += (double)y, moments[3] += (double)y * (double)y;
		}
		for (int k = 0; k < 4; k++)
			mine[1 + k * width + c] = moments[k];
	}
	loss = block_sum<THREADS>(loss, warps);
	if (threadIdx.x == 0)
		mine[0] = loss;
}

// Mean over channels of sqrt(unbiased variance + 1e-6); fewer than two positions have no spread. One block.
static __device__ double spread(const double *partial, int64_t pieces, int64_t stride, int64_t width, int64_t count, double *warps) {
	double total = 0, n = (double)count;
	for (int64_t c = threadIdx.x; c < width; c += THREADS) {
		double sum = 0, square = 0;
		for (int64_t piece = 0; piece < pieces; piece++) {
			sum += partial[piece * stride + c];
			square += partial[piece * stride + width + c];
		}
		double variance = count < 2 ? 0 : square / (n - 1) - sum * sum / (n * (n - 1));
		total += sqrt((variance < 0 ? 0 : variance) + 1e-6);
	}
	total = block_sum<THREADS>(total, warps);
	return width ? total / (double)width : 0;
}

static __global__ void regression_sums(d2v_regression op, const double *partial, int64_t pieces, int64_t stride) {
	__shared__ double warps[THREADS / 32];
	double loss = 0;
	for (int64_t piece = threadIdx.x; piece < pieces; piece += THREADS)
		loss += partial[piece * stride];
	loss = block_sum<THREADS>(loss, warps);
	double pred = op.pred_var ? spread(partial + 1, pieces, stride, op.width, op.masked_count, warps) : 0;
	double target = op.target_var ? spread(partial + 1 + 2 * op.width, pieces, stride, op.width, op.masked_count, warps) : 0;
	if (threadIdx.x)
		return;
	*op.loss = (double)op.weight * loss;
	if (op.pred_var)
		*op.pred_var = pred;
	if (op.target_var)
		*op.target_var = target;
}

void d2v_cuda_regression_loss(d2v_device *dev, const d2v_regression *op) {
	int64_t pieces = (op->masked_count + PIECE - 1) / PIECE, stride = 1 + 4 * op->width;
	double *partial = (double *)d2v_cuda_scratch(dev, (size_t)(pieces * stride + 1) * sizeof *partial);
	if (!partial)
		return;
	size_t elements = (size_t)(op->batch * op->clones * op->tokens * op->width);
	if (op->d_pred && elements)
		dev->backend->zero(dev, op->d_pred, elements * dev->real_size);
	if (pieces)
		D2V_BY_TYPE(dev, D2V_LAUNCH(dev, regression<T>, (unsigned)pieces, THREADS, 0, *op,
			make_loss_rule(op->beta, op->scale, op->weight), partial, stride));
	D2V_LAUNCH(dev, regression_sums, 1, THREADS, 0, *op, (const double *)partial, pieces, stride);
}

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
