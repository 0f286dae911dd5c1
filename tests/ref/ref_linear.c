#include "tests/ref/reference.h"

void ref_linear_forward(d2v_device *dev, const d2v_linear *op) {
	(void)dev;
	for (int64_t r = 0; r < op->rows; r++)
		for (int64_t o = 0; o < op->out; o++) {
			double v = op->bias ? ref_in(op->bias)[o] : 0;
			for (int64_t i = 0; i < op->in; i++)
				v += ref_in(op->x)[r * op->in + i] * ref_in(op->w)[o * op->in + i];
			if (op->gelu && op->pre)
				ref_out(op->pre)[r * op->out + o] = v;
			ref_out(op->y)[r * op->out + o] = op->gelu ? ref_gelu(v) : v;
		}
}

void ref_linear_backward(d2v_device *dev, const d2v_linear *op) {
	(void)dev;
	double *d_pre = ref_out(op->d_y);
	for (int64_t i = 0; i < op->rows * op->out && op->gelu; i++)
		d_pre[i] *= ref_gelu_derivative(ref_in(op->pre)[i]);
	for (int64_t r = 0; r < op->rows && op->d_x; r++)
		for (int64_t i = 0; i < op->in; i++) {
			double *d_x = &ref_out(op->d_x)[r * op->in + i];
			double sum = op->accumulate_d_x ? *d_x : 0;
			for (int64_t o = 0; o < op->out; o++)
				sum += d_pre[r * op->out + o] * ref_in(op->w)[o * op->in + i];
			*d_x = sum;
		}
	for (int64_t o = 0; o < op->out; o++) {
		for (int64_t i = 0; i < op->in && op->d_w; i++) {
			double sum = 0;
			for (int64_t r = 0; r < op->rows; r++)
				sum += d_pre[r * op->out + o] * ref_in(op->x)[r * op->in + i];
			op->d_w[o * op->in + i] += (float)sum;
		}
		double sum = 0;
		for (int64_t r = 0; r < op->rows; r++)
			sum += d_pre[r * op->out + o];
		if (op->d_bias)
			op->d_bias[o] += (float)sum;
	}
}
