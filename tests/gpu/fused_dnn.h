// What bench_choices asks of cuDNN 9 that the backend does not use: a product with GELU, or its derivative, in one
// kernel. cuDNN writes such kernels when asked (it needs NVRTC beside it), its GELU is the exact one. All arrays are
// bf16, sums are in f32, and nothing but what is named here is written to memory.
#ifndef D2V_TESTS_GPU_FUSED_DNN_H
#define D2V_TESTS_GPU_FUSED_DNN_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum fused_way {
	FUSED_FORWARD,  // pre (m, n) = x (m, k) w' + bias, y (m, n) = gelu(pre); w is (n, k)
	FUSED_ALONE,    // the same, but pre is not written
	FUSED_BACKWARD, // y (m, n) = x (m, k) w times gelu'(pre); w is (k, n)
} fused_way;

typedef struct fused_dnn fused_dnn;

typedef struct fused_arrays {
	const void *x, *w, *bias;
	void *pre, *y, *workspace;
} fused_arrays;

enum { FUSED_TEXT = 256 };

// NULL: text says why. Ends with fused_dnn_close.
fused_dnn *fused_dnn_open(cudaStream_t stream, fused_way way, int64_t m, int64_t n, int64_t k, char text[FUSED_TEXT]);
void fused_dnn_close(fused_dnn *dnn);
// Makes the kernel of the heuristics' proposal 0, 1, ...; text: what it is, or why there is none (end: there are no
// more).
bool fused_dnn_plan(fused_dnn *dnn, int number, size_t workspace, char text[FUSED_TEXT], bool *end);
// Runs the kernel made last. False: text says why.
bool fused_dnn_run(fused_dnn *dnn, const fused_arrays *arrays, char text[FUSED_TEXT]);

#endif
