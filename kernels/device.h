// A device: memory, and the operations that run on it.
//
// train/ writes each model once against this header and ops.h; kernels/cpu/ and kernels/cuda/ implement the same operations.
// Nothing above kernels/ includes either.
//
// Element types. Activations and working weights are in the device's working type: f32 on the CPU, bf16, f16 or f32 on a GPU.
// They are passed as `d2v_real *`, a type nobody can follow or index, so that code above cannot assume one. Statistics, master
// parameters, gradients of parameters, moments, losses and the teacher's average are `float` everywhere.
//
// Errors: operations return void. The device keeps the first error; d2v_device_sync reports it, once per step. With the
// environment's D2V_SYNC=1 every operation is followed by a sync, and the message names the culprit.
// Threads: one thread drives a device. The CPU backend uses OpenMP inside; its own reductions are cut by size, never by
// thread count. oneDNN's products may depend on the number of threads: d2v_device_threads is part of what makes two runs equal.
#ifndef D2V_KERNELS_DEVICE_H
#define D2V_KERNELS_DEVICE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

typedef struct d2v_real d2v_real; // one element of the device's working type; never completed
typedef struct d2v_device d2v_device;

// name: "cpu", "cpu:N" (N compute threads), "cuda", "cuda:N", "auto". A GPU works in bf16; "cuda:N:f16" has more digits
// and less range; "cuda:N:f32" and "cuda:N:tf32" are for checking. A CUDA device in a build without CUDA is D2V_UNSUPPORTED
// with a message that says how to build it in.
d2v_status d2v_device_open(d2v_device **device, const char *name, d2v_error *err);
void d2v_device_close(d2v_device *device); // NULL is allowed
// The outline of a device of `memory` bytes whose working type has real_size bytes: for planning what it would need, where
// there is none. Takes no memory; nothing but planning may be done with it, and it stays dry whatever it is told.
d2v_status d2v_device_outline(d2v_device **device, size_t real_size, size_t memory, d2v_error *err);
const char *d2v_device_name(const d2v_device *device);
int d2v_device_threads(const d2v_device *device); // compute threads; 0 on a GPU
size_t d2v_device_real_size(const d2v_device *device); // bytes of one d2v_real
// The largest finite d2v_real. f16's is 65504, and its smallest are far above gradients': those want scaling (train/loss_scale.h).
double d2v_device_real_max(const d2v_device *device);

// Dense matrix products in the working type by the maker's data sheet, in FLOP/s. 0: not known, or a CPU; then measure it
// (train/plan.h).
double d2v_device_datasheet(const d2v_device *device);
// Memory of the device that nobody has taken, and all of it; on the CPU the machine's.
void d2v_device_memory(d2v_device *device, size_t *left, size_t *all);

// Memory of the device; on the CPU plain memory. Aligned to 256 bytes, not cleared.
d2v_status d2v_device_alloc(d2v_device *device, void *out, size_t bytes, d2v_error *err);
void d2v_device_free(d2v_device *device, void *pointer);
// Host memory that the device can read fast (pinned for CUDA): what a loader's allocator hands out.
d2v_status d2v_device_alloc_host(d2v_device *device, void *out, size_t bytes, d2v_error *err);
void d2v_device_free_host(d2v_device *device, void *pointer);

// Ordered with the operations. download returns when the bytes are there. Like operations, these and the conversions below do
// nothing while the device is planning (d2v_ops_set_dry).
void d2v_device_upload(d2v_device *device, void *to, const void *from_host, size_t bytes);
void d2v_device_download(d2v_device *device, void *to_host, const void *from, size_t bytes);
void d2v_device_copy(d2v_device *device, void *to, const void *from, size_t bytes);
void d2v_device_zero(d2v_device *device, void *to, size_t bytes);

// Uploads beside the operations: they run in the order they are asked for, while operations run. Nothing that still
// runs may use `to`. The bytes must stay until something was waited for that was asked for after
// d2v_device_await_uploads; from there on operations find what was uploaded.
void d2v_device_upload_ahead(d2v_device *device, void *to, const void *from_host, size_t bytes);
void d2v_device_await_uploads(d2v_device *device);

// Graphs: a long stretch of operations that is asked for while something else runs, and later given to a GPU as one.
// Between begin and end what is asked for is kept instead of run (no uploads, downloads or waiting there); launch runs
// it in its place among what is asked for then. `shape` stands for what the stretch is made of. False, and nothing is
// kept or run: it must be asked for in its place as if there were no graphs. That is so on devices without graphs, the
// first time that a shape is met, when there are errors, and when what was kept holds no longer (launch). If a GPU
// refuses to keep a stretch a warning says why, and there are no graphs from then on.
bool d2v_device_graph_begin(d2v_device *device, uint64_t shape);
bool d2v_device_graph_end(d2v_device *device, bool keep);    // keep false: not after all
bool d2v_device_graph_launch(d2v_device *device);            // what the last begin and end kept, once
void d2v_device_graph_allow(d2v_device *device, bool allow); // a device that has graphs starts with them allowed

// Since the device was opened.
typedef struct d2v_graph_counts {
	uint64_t launched;
	uint64_t made, changed; // of those kept: made anew, or by changing the one of the last time but one
} d2v_graph_counts;
d2v_graph_counts d2v_device_graphs(const d2v_device *device);

// Conversions between the working type and float, both in device memory.
void d2v_device_to_real(d2v_device *device, d2v_real *to, const float *from, size_t count);
void d2v_device_to_float(d2v_device *device, float *to, const d2v_real *from, size_t count);

// p + index elements. On a measuring arena's pointers this is only arithmetic.
d2v_real *d2v_real_at(const d2v_device *device, const d2v_real *p, size_t index);

// Waits for everything asked so far; the first error since the last sync.
d2v_status d2v_device_sync(d2v_device *device, d2v_error *err);
// For backends: remembers the first.
void d2v_device_set_error(d2v_device *device, d2v_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
