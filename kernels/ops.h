// The operations data2vec 2.0 is made of. Each declaration is its contract: formula, shapes, what is overwritten, what is
// accumulated. This header is included by models; backends implement every function for their device.
//
// Conventions
//   B samples, M masked copies of each (clone_batch), R = B*M rows, row r belongs to sample r/M;
//   T tokens of a row, K kept tokens, E extra tokens, D = C channels, H heads, rows = any product of leading sizes.
//   All arrays are dense, row-major, channels last. `d_x` is the gradient of x.
//   Outputs named y, out, d_x are overwritten. Gradients of parameters (d_w, d_gain, ... all float) are accumulated: `+=`.
//   Pointers documented "or NULL" switch a part off. Unless a contract says otherwise, outputs do not alias inputs.
//   Sizes may be zero: then nothing is touched (accumulators stay, sums are 0).
//   While the device is planning (see d2v_ops_dry), operations return at once: the caller only counts memory.
#ifndef D2V_KERNELS_OPS_H
#define D2V_KERNELS_OPS_H

#include "base/random.h"
#include "kernels/device.h"

// True between the two calls: every operation is a no-op, for planning memory by running the code with a measuring arena.
void d2v_ops_set_dry(d2v_device *device, bool dry);
bool d2v_ops_is_dry(const d2v_device *device);

// ---- dropout -----------------------------------------------------------------------------------------------------------
// Part of several operations. Element e is kept iff its draw, a number of 16 bits, is >= t = ceil(p * 2^16), and is
// then divided by 1 - t * 2^-16: p is rounded up to a multiple of 2^-16, be it ever so small, and the expectation stays
// what it was. p > 1 - 2^-16: nothing is kept. p = 0: off.
// The draw is that of n = (first + e)/span: an array may be a piece of a longer one, whose draws are counted through.
// Word n%8/2 of d2v_philox_block_7(key, n/8, 0) has it in its lower half for even n, in its upper half for odd n.
// Backward regenerates it; attention alone may be given memory to store what it kept (d2v_attention.kept). span 1: plain
// dropout; span = T*D: DropPath (one draw for a whole row).
typedef struct d2v_dropout {
	float p;
	d2v_random_key key;
	int64_t span; // 0 means 1
	int64_t first; // elements of the longer array before this one's
} d2v_dropout;

// ---- input --------------------------------------------------------------------------------------------------------------
// y[b,i] = (x[b,i]/32768 - mean[b]) * rstd[b]: a waveform normalised over its whole utterance (recipes.md 5).
typedef struct d2v_wave {
	const int16_t *x;         // (B, L)
	const float *mean, *rstd; // (B)
	d2v_real *y;              // (B, L)
	int64_t batch, length;
} d2v_wave;
void d2v_wave_forward(d2v_device *dev, const d2v_wave *op);

// The patches of pictures as rows, in the order of a patch embedding's weights (out, in, p, p), so that the embedding is a
// linear layer: y[b, r*(W/p) + c, (i*p + u)*p + v] = pixel i of row r*p + u, column c*p + v.
// Pixels are given, or those of 8-bit pictures: (x/255 - mean[i]) * rstd[i] for the three channels.
typedef struct d2v_patches {
	const uint8_t *image;   // (B, height, width, 3), or NULL
	const d2v_real *pixels; // (B, in, height, width), read when image is NULL
	float mean[3], rstd[3]; // of images
	d2v_real *y;            // (B, height/p * width/p, in*p*p)
	int64_t batch, height, width, in, patch;
} d2v_patches;
void d2v_patches_forward(d2v_device *dev, const d2v_patches *op);

// Tokens to vectors: y[b,t,:] = scale * table[x[b,t], :] + positions[pos, :], where pos = pad for a token that is <pad>, and pad
// plus the number of tokens of x[b, 0..t] that are not for all others. Ids must be in [0, vocabulary); pos < places always holds
// when places > T + pad.
// Backward: d_table[v,:] += scale * sum of d_y where x is v, d_positions likewise, in an order that depends on sizes and tokens
// alone; row `pad` of both gets nothing. Who wants d_table gives `order`.
typedef struct d2v_embedding {
	const int32_t *x;          // (B, T)
	const int32_t *order;      // (B*T) the places of x, sorted by token, equal ones by place; read by backward with d_table
	const d2v_real *table;     // (vocabulary, D)
	const d2v_real *positions; // (places, D) or NULL
	float scale;
	d2v_real *y; // (B, T, D)
	int64_t batch, tokens, width, vocabulary, places, pad;
	const d2v_real *d_y; // (B, T, D)
	float *d_table, *d_positions; // or NULL
} d2v_embedding;
void d2v_embedding_forward(d2v_device *dev, const d2v_embedding *op);
void d2v_embedding_backward(d2v_device *dev, const d2v_embedding *op);

// ---- linear -------------------------------------------------------------------------------------------------------------
// y = x w^T + bias, and with gelu: pre = that, y = gelu(pre), gelu(v) = v/2 (1 + erf(v/sqrt 2)).
// Backward: d_pre = gelu ? d_y * gelu'(pre) : d_y; d_x = d_pre w; d_w += d_pre^T x; d_bias += column sums of d_pre.
// With gelu, d_y is overwritten with d_pre.
typedef struct d2v_linear {
	const d2v_real *x;    // (rows, in)
	const d2v_real *w;    // (out, in)
	const d2v_real *bias; // (out) or NULL
	d2v_real *y;          // (rows, out); forward only
	bool gelu;
	d2v_real *pre; // (rows, out) with gelu: written by forward (NULL: not wanted), read by backward
	int64_t rows, in, out;
	d2v_real *d_y; // (rows, out)
	d2v_real *d_x; // (rows, in) or NULL
	bool accumulate_d_x; // d_x += instead of d_x =
	float *d_w;          // (out, in) or NULL
	float *d_bias;       // (out) or NULL
} d2v_linear;
void d2v_linear_forward(d2v_device *dev, const d2v_linear *op);
void d2v_linear_backward(d2v_device *dev, const d2v_linear *op);

// ---- layer norm, alone or with what stands around it ------------------------------------------------------------------
// sum = x + drop(residual); n = (sum - mean)/sqrt(var + eps), biased variance over channels, in f32;
// v = gain*n + bias; y = (gelu ? gelu(v) : v), then dropped by after_drop, then += add.
//   residual NULL: sum is x itself and is not written.
// Backward, with d_v = d_y through after_drop and gelu': d_sum is the gradient of x; d_residual = d_sum through drop.
//   d_add is d_y itself: the caller uses d_y.
//   d_bias_before is the gradient of the bias of the layer before, the one whose result is residual, or x where there is none:
//   += the column sums of d_residual, where that is NULL of d_sum; of this op's part, whatever accumulate_d_sum adds it to,
//   and in f32, before it is rounded. The layer before is then given no d_bias of its own, and its d_y is not read once more.
typedef struct d2v_norm {
	const d2v_real *x;
	const d2v_real *residual; // or NULL
	d2v_dropout drop;         // acts on residual
	d2v_real *sum;            // written by forward, read by backward; may be x's own buffer. Without residual: NULL, x is read
	const d2v_real *gain, *bias; // (C) or NULL: not affine (both or none)
	float eps;
	bool gelu;
	d2v_dropout after_drop;
	const d2v_real *add; // (rows, C) or NULL; may be y's own buffer
	d2v_real *y;         // (rows, C)
	float *mean, *rstd;  // (rows), written by forward, read by backward
	int64_t rows, channels;
	const d2v_real *d_y;
	d2v_real *d_sum;      // (rows, C); may be d_y's own buffer
	bool accumulate_d_sum; // d_sum += instead of =; d_residual then gets only this op's part
	d2v_real *d_residual; // (rows, C) or NULL
	float *d_gain, *d_bias; // (C) or NULL
	float *d_bias_before;   // (C) or NULL
} d2v_norm;
void d2v_norm_forward(d2v_device *dev, const d2v_norm *op);
void d2v_norm_backward(d2v_device *dev, const d2v_norm *op);

// ---- 1-d convolution ----------------------------------------------------------------------------------------------------
// y[r,t,o] = bias[o] + sum_{i,k} w[o,i,k] x[r, t*stride + k - pad, group(o)*(in/groups) + i], zeros outside;
// t < steps_out <= floor((steps_in + 2 pad - kernel)/stride) + 1 (an even kernel with pad k/2 drops its last step: SamePad).
typedef struct d2v_conv1d {
	const d2v_real *x;    // (R, steps_in, in)
	const d2v_real *w;    // (out, in/groups, kernel), fairseq's layout
	const d2v_real *bias; // (out) or NULL
	d2v_real *y;          // (R, steps_out, out)
	int64_t rows, steps_in, steps_out, in, out, kernel, stride, pad, groups;
	const d2v_real *d_y;
	d2v_real *d_x; // or NULL
	bool accumulate_d_x;
	float *d_w, *d_bias; // or NULL
} d2v_conv1d;
void d2v_conv1d_forward(d2v_device *dev, const d2v_conv1d *op);
void d2v_conv1d_backward(d2v_device *dev, const d2v_conv1d *op);

// ---- 2-d convolution ----------------------------------------------------------------------------------------------------
// Stride 1, as many positions out as in (an even kernel drops its last row and column: SamePad):
// y[r,a,b,o] = bias[o] + sum_{i,u,v} w[o,i,u,v] x[r, a + u - k/2, b + v - k/2, group(o)*(in/groups) + i], zeros outside.
typedef struct d2v_conv2d {
	const d2v_real *x;    // (R, height, width, in)
	const d2v_real *w;    // (out, in/groups, kernel, kernel), fairseq's layout
	const d2v_real *bias; // (out) or NULL
	d2v_real *y;          // (R, height, width, out)
	int64_t rows, height, width, in, out, kernel, groups;
	const d2v_real *d_y;
	d2v_real *d_x; // or NULL
	bool accumulate_d_x;
	float *d_w, *d_bias; // or NULL
} d2v_conv2d;
void d2v_conv2d_forward(d2v_device *dev, const d2v_conv2d *op);
void d2v_conv2d_backward(d2v_device *dev, const d2v_conv2d *op);

// ---- attention ----------------------------------------------------------------------------------------------------------
// Per row r and head h, with q,k,v = qkv split as index s*D + h*Dh + e (s = q,k,v):
//   S[i,j] = (q_i/sqrt(Dh)) . k_j + max(scale[h],0) * slope[h] * -|pos_i - pos_j|   (f32; the bias is 0 when i or j is one of
//   the E extra tokens, which come first); padded keys get -inf; P = softmax_j(S) in f32; out_i = sum_j drop(P)[i,j] v_j.
//   Dropout's element index is ((r*H + h)*N + i)*d2v_attention_draws(N) + j, N = tokens: a query's draws begin at a
//   multiple of 32. Its span is 1, its `first` that of a row.
//   slope NULL: no bias. positions NULL: pos of token j is j-E. A row whose keys are all padded gives zeros.
// lse[r,h,i] = log sum_j exp(S[i,j]) is kept for backward, which computes S again.
// kept: what forward leaves for backward alone, in d2v_attention_kept_bytes of the device's memory. A GPU leaves there
//   which scores dropout kept, two bits a score (kernels/kept_draws.h). NULL: nothing is left, backward draws again,
//   and the results have the same bytes.
// d_scale[h] += sum over r,i,j of dS * slope[h] * -|pos_i-pos_j|, for scale[h] >= 0; nothing for negative scale (as clamp does).
// d_qkv_bias, the gradient of the bias of the layer that makes qkv, += the column sums of d_qkv, taken before or after it is
// rounded, as is cheapest; that layer is then given no d_bias of its own. (The keys' third is what rounding leaves of a zero.)
static inline int64_t d2v_attention_draws(int64_t tokens) {
	return (tokens + 31) / 32 * 32;
}
typedef struct d2v_attention {
	const d2v_real *qkv;      // (R, N, 3D)
	d2v_real *out;            // (R, N, D); written by forward, read by backward
	float *lse;               // (R, H, N)
	void *kept;               // or NULL
	const float *slope;       // (H) or NULL
	const float *scale;       // (H) or NULL: 1
	const int32_t *positions; // (R, N-E) or NULL
	const uint8_t *key_padding; // (R, N), 1 = no key, or NULL
	d2v_dropout drop;
	int64_t rows, tokens, extra, heads, width; // N, E, H, D
	const d2v_real *d_out; // (R, N, D)
	d2v_real *d_qkv;       // (R, N, 3D)
	float *d_scale;        // (H) or NULL
	float *d_qkv_bias;     // (3D) or NULL
} d2v_attention;
// Of an operation whose sizes and dropout are set; 0: kept is not looked at. It says so while the device is planning too.
size_t d2v_attention_kept_bytes(d2v_device *dev, const d2v_attention *op);
void d2v_attention_forward(d2v_device *dev, const d2v_attention *op);
void d2v_attention_backward(d2v_device *dev, const d2v_attention *op);
// The bias alone, (H, N, N) of row 0, scale included: for looking at it.
void d2v_attention_bias(d2v_device *dev, const d2v_attention *op, float *bias);

// ---- masked copies ------------------------------------------------------------------------------------------------------
// out[r,t,:] = mask[r,t] ? 0 : x[r/M,t,:]          (the positional convolution's input: masked frames are zeroed)
// Backward: d_x[b,t,:] += sum over the copies of b whose mask[r,t] is 0 of d_out[r,t,:].
typedef struct d2v_mask_rows {
	const d2v_real *x;   // (B, T, D)
	const uint8_t *mask; // (R, T)
	d2v_real *out;       // (R, T, D)
	int64_t batch, clones, tokens, width;
	const d2v_real *d_out;
	d2v_real *d_x; // (B, T, D), accumulated
} d2v_mask_rows;
void d2v_mask_rows_forward(d2v_device *dev, const d2v_mask_rows *op);
void d2v_mask_rows_backward(d2v_device *dev, const d2v_mask_rows *op);

// The encoder's input: extra tokens, then the kept tokens of each copy.
//   out[r,e,:] = extra[e,:];  out[r,E+k,:] = x[r/M, p, :] + table[p, :] + add[r, p, :] with p = keep[r,k] (keep NULL: p = k,
//   K = T). The table, fixed positions, gets no gradient.
// Backward: d_x[b,p,:] += sum over copies of d_out; d_add[r,p,:] = d_out (zero at positions not kept); d_extra += sum over rows.
typedef struct d2v_gather {
	const d2v_real *x;     // (B, T, D)
	const d2v_real *add;   // (R, T, D) or NULL
	const d2v_real *table; // (T, D) or NULL
	const d2v_real *extra; // (E, D) or NULL when E = 0
	const int32_t *keep;   // (R, K) or NULL
	const int32_t *restore; // (R, T) inverse of keep (see d2v_restore), for backward; NULL when keep is NULL
	d2v_real *out;         // (R, E+K, D)
	int64_t batch, clones, tokens, kept, extra_tokens, width;
	const d2v_real *d_out;
	d2v_real *d_x;   // (B, T, D) accumulated, or NULL
	d2v_real *d_add; // (R, T, D) overwritten, or NULL
	float *d_extra;  // (E, D) accumulated, or NULL
} d2v_gather;
void d2v_gather_forward(d2v_device *dev, const d2v_gather *op);
void d2v_gather_backward(d2v_device *dev, const d2v_gather *op);

// The decoder's input: kept tokens back in their places, noise N(0, noise_std^2) everywhere else.
//   j = restore[r,t]; out[r,t,:] = j < K ? drop(x)[r,E+j,:] : noise[r, j-K, :].
// The dropout acts on all of x (R, E+K, D), element index as in that array. noise NULL: drawn, element noise_first + (r*T + t)*D + c
// is, by its index, the Box-Muller normal of d2v_random_block(noise_key, index/4, 1): words (0,1) give elements 0,1 of the four, words (2,3) elements 2,3:
// u = (word_a + 1) * 2^-32, v = word_b * 2^-32, radius = sqrt(-2 ln u), pair = radius*cos(2 pi v), radius*sin(2 pi v).
// Backward: d_x[r,E+j,:] = d_out through drop; d_x of extra tokens = 0.
typedef struct d2v_restore {
	const d2v_real *x;      // (R, E+K, D)
	const int32_t *restore; // (R, T): index in the list "kept, then masked"
	const int32_t *keep;    // (R, K), for backward
	d2v_dropout drop;
	const d2v_real *noise; // (R, T-K, D) or NULL
	d2v_random_key noise_key;
	float noise_std;
	int64_t noise_first;
	d2v_real *out; // (R, T, D)
	int64_t rows, tokens, kept, extra_tokens, width;
	const d2v_real *d_out;
	d2v_real *d_x; // (R, E+K, D)
} d2v_restore;
void d2v_restore_forward(d2v_device *dev, const d2v_restore *op);
void d2v_restore_backward(d2v_device *dev, const d2v_restore *op);

// ---- elementwise --------------------------------------------------------------------------------------------------------
// y = drop(x), or with accumulate y += drop(x). y may be x. Forward and backward are the same.
void d2v_drop(d2v_device *dev, d2v_real *y, const d2v_real *x, d2v_dropout drop, bool accumulate, int64_t count);
// y += a * x
void d2v_add(d2v_device *dev, d2v_real *y, const d2v_real *x, float a, int64_t count);

// ---- targets ------------------------------------------------------------------------------------------------------------
// y[b,t,:] = post( 1/layers * sum over layers, in order, of norm(layer[b, E+t, :]) ), f32. The layers' extra tokens are skipped.
//   instance norm: per (b, channel) over the T positions; layer norm: per (b, t) over channels; both without gain, eps 1e-5, biased.
//   batch norm: per channel over all B*T positions, extra tokens left out; without gain, eps 1e-5, biased.
//   per_layer: batch first, then instance, then layer norm, those asked for. After the mean: layer norm first, then instance norm.
typedef struct d2v_target {
	const d2v_real *const *layers; // host array of `count` device pointers, each (B, E+T, D)
	int64_t count;
	bool batch_norm_layer, instance_norm_layer, layer_norm_layer, layer_norm_mean, instance_norm_mean;
	float *y; // (B, T, D)
	int64_t batch, tokens, extra_tokens, width;
} d2v_target;
void d2v_target_forward(d2v_device *dev, const d2v_target *op);

// ---- losses -------------------------------------------------------------------------------------------------------------
// l = scale * ( beta == 0 ? d^2 : |d| < beta ? d^2/(2 beta) : |d| - beta/2 ), d = pred - target.
// loss = weight * sum over masked positions and channels of l;  d_pred = its derivative, zero at positions not masked.
// masked[i] = masked_first + r*T + t. The target of row r is that of sample r/M.
// Spread: var(v) = mean over channels of sqrt(unbiased variance over the masked positions of v + 1e-6).
typedef struct d2v_regression {
	const d2v_real *pred;  // (R, T, D)
	const float *target;   // (B, T, D)
	const int32_t *masked; // (masked_count), ascending
	int64_t masked_count, masked_first;
	float beta, scale, weight;
	int64_t batch, clones, tokens, width;
	d2v_real *d_pred;    // (R, T, D) or NULL
	double *loss;        // device memory, 1, overwritten
	double *pred_var, *target_var; // device memory, 1 each, or NULL
} d2v_regression;
void d2v_regression_loss(d2v_device *dev, const d2v_regression *op);

// CLS: pred = x[r, E-1, :], target = mean over T of target[r/M, :, :]; loss = weight * sum over rows and channels of l as above.
// d_x[r, E-1, :] += derivative.
typedef struct d2v_cls {
	const d2v_real *x;   // (R, N, D), N = E + K
	const float *target; // (B, T, D)
	float beta, scale, weight;
	int64_t batch, clones, tokens, row_tokens, extra_tokens, width;
	d2v_real *d_x; // (R, N, D)
	double *loss;  // device memory, 1
} d2v_cls;
void d2v_cls_loss(d2v_device *dev, const d2v_cls *op);

// ---- parameters ---------------------------------------------------------------------------------------------------------
// Sum of squares in double, of `count` floats: *sum (device memory) = that. Summation order depends on count alone.
void d2v_sum_squares(d2v_device *dev, double *sum, const float *x, int64_t count);

// One range of the flat parameter arrays.
typedef struct d2v_range {
	int64_t offset, count;
} d2v_range;

// Adam as fairseq computes it (recipes.md 2.3 a), s = step, counted from 1:
//   g = grad*grad_scale; m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; p -= lr*wd*p; p -= lr*sqrt(1-b2^s)/(1-b1^s) * m/(sqrt(v)+eps).
typedef struct d2v_adam {
	float *param, *grad, *m, *v; // whole flat arrays
	d2v_real *working;           // copy of param in the working type, or NULL when param itself is used
	const d2v_range *ranges;     // host
	int64_t range_count;
	double lr, beta1, beta2, eps, weight_decay, grad_scale;
	int64_t step;
} d2v_adam;
void d2v_adam_update(d2v_device *dev, const d2v_adam *op);

// teacher = teacher*(1-rate) + rate*student, both factors rounded to f32, two rounded operations (model.md 8).
typedef struct d2v_ema {
	float *teacher;        // flat array of the teacher
	const float *student;  // flat array of the student
	d2v_real *working;     // copy of teacher in the working type, or NULL
	const d2v_range *teacher_ranges, *student_ranges; // host, equally long pairs
	int64_t range_count;
	double rate; // 1 - decay
} d2v_ema;
void d2v_ema_update(d2v_device *dev, const d2v_ema *op);

#endif
