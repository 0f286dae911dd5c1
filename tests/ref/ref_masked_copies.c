#include "tests/ref/reference.h"

void ref_mask_rows_forward(d2v_device *dev, const d2v_mask_rows *op) {
	(void)dev;
	int64_t T = op->tokens, D = op->width;
	for (int64_t r = 0; r < op->batch * op->clones; r++)
		for (int64_t t = 0; t < T; t++)
			for (int64_t c = 0; c < D; c++)
				ref_out(op->out)[(r * T + t) * D + c] =
					op->mask[r * T + t] ? 0 : ref_in(op->x)[(r / op->clones * T + t) * D + c];
}

void ref_mask_rows_backward(d2v_device *dev, const d2v_mask_rows *op) {
	(void)dev;
	int64_t T = op->tokens, D = op->width;
	for (int64_t r = 0; r < op->batch * op->clones; r++)
		for (int64_t t = 0; t < T; t++)
			for (int64_t c = 0; c < D; c++)
				if (!op->mask[r * T + t])
					ref_out(op->d_x)[(r / op->clones * T + t) * D + c] += ref_in(op->d_out)[(r * T + t) * D + c];
}

static int64_t kept_position(const d2v_gather *op, int64_t r, int64_t k) {
	return op->keep ? op->keep[r * op->kept + k] : k;
}

void ref_gather_forward(d2v_device *dev, const d2v_gather *op) {
	(void)dev;
	int64_t T = op->tokens, D = op->width, E = op->extra_tokens, N = E + op->kept;
	for (int64_t r = 0; r < op->batch * op->clones; r++)
		for (int64_t c = 0; c < D; c++) {
			for (int64_t e = 0; e < E; e++)
				ref_out(op->out)[(r * N + e) * D + c] = ref_in(op->extra)[e * D + c];
			for (int64_t k = 0; k < op->kept; k++) {
				int64_t p = kept_position(op, r, k);
				ref_out(op->out)[(r * N + E + k) * D + c] = ref_in(op->x)[(r / op->clones * T + p) * D + c] +
															(op->table ? ref_in(op->table)[p * D + c] : 0) +
															(op->add ? ref_in(op->add)[(r * T + p) * D + c] : 0);
			}
		}
}

void ref_gather_backward(d2v_device *dev, const d2v_gather *op) {
	(void)dev;
	int64_t T = op->tokens, D = op->width, E = op->extra_tokens, N = E + op->kept, R = op->batch * op->clones;
	for (int64_t i = 0; i < R * T * D && op->d_add; i++)
		ref_out(op->d_add)[i] = 0;
	for (int64_t r = 0; r < R; r++)
		for (int64_t c = 0; c < D; c++) {
			for (int64_t e = 0; e < E && op->d_extra; e++)
				op->d_extra[e * D + c] += (float)ref_in(op->d_out)[(r * N + e) * D + c];
			for (int64_t k = 0; k < op->kept; k++) {
				int64_t p = kept_position(op, r, k);
				double d = ref_in(op->d_out)[(r * N + E + k) * D + c];
				if (op->d_x)
					ref_out(op->d_x)[(r / op->clones * T + p) * D + c] += d;
				if (op->d_add)
					ref_out(op->d_add)[(r * T + p) * D + c] = d;
			}
		}
}

void ref_restore_forward(d2v_device *dev, const d2v_restore *op) {
	(void)dev;
	int64_t T = op->tokens, K = op->kept, D = op->width, N = op->extra_tokens + K;
	for (int64_t r = 0; r < op->rows; r++)
		for (int64_t t = 0; t < T; t++)
			for (int64_t c = 0; c < D; c++) {
				int64_t j = op->restore[r * T + t], out = (r * T + t) * D + c,
						x = (r * N + op->extra_tokens + j) * D + c;
				if (j < K)
					ref_out(op->out)[out] = ref_dropout_factor(&op->drop, x) * ref_in(op->x)[x];
				else if (op->noise)
					ref_out(op->out)[out] = ref_in(op->noise)[(r * (T - K) + j - K) * D + c];
				else
					ref_out(op->out)[out] = (double)op->noise_std * ref_normal(op->noise_key, op->noise_first + out);
			}
}

void ref_restore_backward(d2v_device *dev, const d2v_restore *op) {
	(void)dev;
	int64_t T = op->tokens, K = op->kept, D = op->width, N = op->extra_tokens + K;
	for (int64_t i = 0; i < op->rows * N * D; i++)
		ref_out(op->d_x)[i] = 0;
	for (int64_t r = 0; r < op->rows; r++)
		for (int64_t t = 0; t < T; t++)
			for (int64_t c = 0; c < D; c++) {
				int64_t j = op->restore[r * T + t], x = (r * N + op->extra_tokens + j) * D + c;
				if (j < K)
					ref_out(op->d_x)[x] = ref_dropout_factor(&op->drop, x) * ref_in(op->d_out)[(r * T + t) * D + c];
			}
}
