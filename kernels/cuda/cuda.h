// What the files of the CUDA backend share: the device, its stream, its scratch memory.
//
// Everything but uploads ahead runs in one stream, in the order it was asked for, so scratch memory may be used by one operation
// after another without waiting. Results are the same bytes on every run: sums are cut by size, in a few kernels by
// what the card runs at a time, and added in order, no kernel adds with atomics. The working type is bf16, or f16 where that is asked for ("cuda:0:f16": what does not fit becomes
// infinite), or f32 for checking ("cuda:0:f32"; "cuda:0:tf32" lets matrix products round their operands to tf32).
#ifndef D2V_KERNELS_CUDA_CUDA_H
#define D2V_KERNELS_CUDA_CUDA_H

#ifdef __cplusplus
extern "C" {
#endif

#include "kernels/backend.h"

#include <cuda_runtime_api.h>

struct d2v_cuda_products; // cuda_product.c: handle and plans
struct d2v_cuda_dnn;      // cuda_dnn.c: the same for convolutions
struct d2v_cuda_graphs;   // cuda_graph.c

typedef struct d2v_cuda {
	d2v_device base; // first: the pointers are the same
	int index;       // which GPU
	d2v_precision precision;
	cudaStream_t stream, uploads;
	cudaEvent_t uploaded; // in `uploads`, by the last d2v_device_await_uploads
	struct d2v_cuda_products *products;
	struct d2v_cuda_dnn *dnn; // NULL until the first dense convolution
	struct d2v_cuda_graphs *graphs;
	void *scratch; // grows to what the largest operation needs, and stays
	size_t scratch_size;
} d2v_cuda;

static inline d2v_cuda *d2v_cuda_of(d2v_device *dev) {
	return (d2v_cuda *)(void *)dev;
}
static inline bool d2v_cuda_is_bf16(d2v_device *dev) {
	return d2v_cuda_of(dev)->precision == D2V_PRECISION_BF16;
}
// bf16 or f16: what the tensor cores multiply.
static inline bool d2v_cuda_is_16_bit(d2v_device *dev) {
	return dev->real_size == 2;
}

// Leaves an error with the device when result is one. True: it was fine.
bool d2v_cuda_check(d2v_device *dev, cudaError_t result, const char *what);

// Scratch of the device: valid until the next call; 256-byte aligned. NULL after leaving the error with the device.
void *d2v_cuda_scratch(d2v_device *dev, size_t bytes);
// What was kept so far names memory or functions that are no more: it must not run.
void d2v_cuda_graphs_spoil(d2v_device *dev);
bool d2v_cuda_graph_is_open(d2v_device *dev); // operations are being kept, not run
static inline size_t d2v_cuda_round(size_t bytes) {
	return (bytes + 255) / 256 * 256;
}

d2v_status d2v_cuda_graphs_new(struct d2v_cuda_graphs **graphs, d2v_error *err);
void d2v_cuda_graphs_free(struct d2v_cuda_graphs *graphs); // NULL is allowed
bool d2v_cuda_graph_begin(d2v_device *dev, uint64_t shape);
bool d2v_cuda_graph_end(d2v_device *dev, bool keep);
bool d2v_cuda_graph_launch(d2v_device *dev);

// The operations, one file a noun.
#define D2V_CUDA_DECLARE(name, type) void d2v_cuda_##name(d2v_device *dev, const type *op);
D2V_STRUCT_OPS(D2V_CUDA_DECLARE)
#undef D2V_CUDA_DECLARE
size_t d2v_cuda_attention_kept_bytes(d2v_device *dev, const d2v_attention *op);
void d2v_cuda_attention_bias(d2v_device *dev, const d2v_attention *op, float *bias);
void d2v_cuda_drop(d2v_device *dev, d2v_real *y, const d2v_real *x, d2v_dropout drop, bool accumulate, int64_t count);
void d2v_cuda_add(d2v_device *dev, d2v_real *y, const d2v_real *x, float a, int64_t count);
void d2v_cuda_sum_squares(d2v_device *dev, double *sum, const float *x, int64_t count);
void d2v_cuda_to_real(d2v_device *dev, d2v_real *to, const float *from, size_t count);
void d2v_cuda_to_float(d2v_device *dev, float *to, const d2v_real *from, size_t count);

#ifdef __cplusplus
}
#endif
#endif
