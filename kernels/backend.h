// What a backend is: a table of functions for memory and for every operation. Only kernels/ includes this.
//
// device.c and ops.c check, dispatch and nothing else; a backend is kernels/cpu/ or kernels/cuda/. A backend's device
// starts with a d2v_device, so the pointer is the same.
#ifndef D2V_KERNELS_BACKEND_H
#define D2V_KERNELS_BACKEND_H

#include "kernels/ops.h"

// Every operation that takes its arguments as one struct: name and type. The table, the dispatch and the backends'
// declarations are made from this list, so that none can be forgotten.
#define D2V_STRUCT_OPS(OP) \
	OP(wave_forward, d2v_wave) \
	OP(patches_forward, d2v_patches) \
	OP(embedding_forward, d2v_embedding) \
	OP(embedding_backward, d2v_embedding) \
	OP(linear_forward, d2v_linear) \
	OP(linear_backward, d2v_linear) \
	OP(norm_forward, d2v_norm) \
	OP(norm_backward, d2v_norm) \
	OP(conv1d_forward, d2v_conv1d) \
	OP(conv1d_backward, d2v_conv1d) \
	OP(conv2d_forward, d2v_conv2d) \
	OP(conv2d_backward, d2v_conv2d) \
	OP(attention_forward, d2v_attention) \
	OP(attention_backward, d2v_attention) \
	OP(mask_rows_forward, d2v_mask_rows) \
	OP(mask_rows_backward, d2v_mask_rows) \
	OP(gather_forward, d2v_gather) \
	OP(gather_backward, d2v_gather) \
	OP(restore_forward, d2v_restore) \
	OP(restore_backward, d2v_restore) \
	OP(target_forward, d2v_target) \
	OP(regression_loss, d2v_regression) \
	OP(cls_loss, d2v_cls) \
	OP(adam_update, d2v_adam) \
	OP(ema_update, d2v_ema)

typedef struct d2v_backend {
	void (*close)(d2v_device *dev); // frees the device itself too
	// Called before every operation: makes this device the calling thread's current one.
	void (*enter)(d2v_device *dev);
	// Waits; failures are left with d2v_device_set_error.
	void (*sync)(d2v_device *dev);

	void (*memory)(d2v_device *dev, size_t *left, size_t *all);
	d2v_status (*alloc)(d2v_device *dev, void *out, size_t bytes, d2v_error *err);
	void (*free)(d2v_device *dev, void *pointer);
	d2v_status (*alloc_host)(d2v_device *dev, void *out, size_t bytes, d2v_error *err);
	void (*free_host)(d2v_device *dev, void *pointer);
	void (*upload)(d2v_device *dev, void *to, const void *from_host, size_t bytes);
	void (*download)(d2v_device *dev, void *to_host, const void *from, size_t bytes);
	void (*upload_ahead)(d2v_device *dev, void *to, const void *from_host, size_t bytes);
	void (*await_uploads)(d2v_device *dev);
	// NULL in a backend without graphs. begin is asked only where there is no error.
	bool (*graph_begin)(d2v_device *dev, uint64_t shape);
	bool (*graph_end)(d2v_device *dev, bool keep);
	bool (*graph_launch)(d2v_device *dev);
	void (*copy)(d2v_device *dev, void *to, const void *from, size_t bytes);
	void (*zero)(d2v_device *dev, void *to, size_t bytes);
	void (*to_real)(d2v_device *dev, d2v_real *to, const float *from, size_t count);
	void (*to_float)(d2v_device *dev, float *to, const d2v_real *from, size_t count);

#define D2V_BACKEND_ENTRY(name, type) void (*name)(d2v_device * dev, const type *op);
	D2V_STRUCT_OPS(D2V_BACKEND_ENTRY)
#undef D2V_BACKEND_ENTRY
	size_t (*attention_kept_bytes)(d2v_device *dev, const d2v_attention *op); // NULL: 0. Asked with dropout only
	void (*attention_bias)(d2v_device *dev, const d2v_attention *op, float *bias);
	void (*drop)(d2v_device *dev, d2v_real *y, const d2v_real *x, d2v_dropout drop, bool accumulate, int64_t count);
	void (*add)(d2v_device *dev, d2v_real *y, const d2v_real *x, float a, int64_t count);
	void (*sum_squares)(d2v_device *dev, double *sum, const float *x, int64_t count);
} d2v_backend;

struct d2v_device {
	const d2v_backend *backend;
	char name[32];
	int threads;      // compute threads; 0 on a GPU
	size_t real_size; // bytes of a d2v_real
	double real_max;  // the largest finite one
	double datasheet; // FLOP/s, 0: not known
	bool dry;
	bool sync_each;      // D2V_SYNC=1
	bool no_graphs;
	d2v_graph_counts graphs;
	d2v_error first;     // first error since the last sync; D2V_OK: none
	const char *current; // the operation running, for messages
};

typedef enum d2v_precision { // the working type of a GPU, and how its matrix products round their operands
	D2V_PRECISION_BF16,
	D2V_PRECISION_F16,
	D2V_PRECISION_TF32, // f32 arrays
	D2V_PRECISION_F32,
} d2v_precision;

// Each is in a file of its own; cuda_none.c answers when CUDA is not built in. threads 0: as OpenMP would; index: which
// GPU.
d2v_status d2v_cpu_open(d2v_device **device, int threads, d2v_error *err);
d2v_status d2v_cuda_open(d2v_device **device, int index, d2v_precision precision, d2v_error *err);

#endif
