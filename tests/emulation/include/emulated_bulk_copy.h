// Copies of boxes to shared memory and their barriers on the processor (emulated_bulk_copy.cc), for
// kernels/cuda/bulk_copy.cuh.
#ifndef D2V_TESTS_EMULATION_EMULATED_BULK_COPY_H
#define D2V_TESTS_EMULATION_EMULATED_BULK_COPY_H

#include <cuda_runtime.h>
#include <stdint.h>

#define __cluster_dims__(...)

// A stack of matrices of 2-byte elements.
struct d2v_emulated_map {
	const void *matrix;
	int64_t rows, columns;
	int box_rows; // of 64 elements
	int64_t count;
};

void d2v_emulate_barrier_init(uint64_t *barrier, unsigned count);
// One arrival, which first announces bytes.
void d2v_emulate_barrier_arrive(uint64_t *barrier, unsigned bytes);
void d2v_emulate_barrier_wait(const uint64_t *barrier, unsigned parity);
void d2v_emulate_fetch_box(void *to, const d2v_emulated_map *map, int column, int row, int which, uint64_t *barrier);
void d2v_emulate_fetch_box_for_all(void *to, const d2v_emulated_map *map, int column, int row, uint64_t *barrier);

// Of the running block within its cluster, and what lies in the same place in another block of it.
unsigned d2v_emulate_cluster_rank(void);
unsigned d2v_emulate_cluster_size(void);
void d2v_emulate_cluster_barrier(void);
void *d2v_emulate_shared_of(void *at, unsigned rank);

// As d2v_emulate_launch; of `cluster` blocks, side by side in x, that run together.
void d2v_emulate_clusters(
	d2v_emulated_thread thread, void *context, dim3 grid, dim3 block, size_t shared, unsigned cluster);
template <class... Parameters>
static inline void d2v_emulate_launch_clusters(cudaStream_t stream, unsigned cluster, dim3 grid, dim3 block, size_t shared,
	void (*kernel)(Parameters...), typename d2v_emulated_type<Parameters>::type... arguments) {
	auto thread = [=] { kernel(arguments...); };
	d2v_emulate_enqueue(stream, D2V_EMULATED_KERNEL, [=] {
		d2v_emulate_clusters([](void *context) { (*(decltype(thread) *)context)(); }, (void *)&thread, grid, block, shared, cluster);
	});
}

// For the scheduler: whether a waiting thread may go on; lands the copy that has waited longest (false: there is none).
bool d2v_emulate_barrier_is_open(const uint64_t *barrier, unsigned parity);
bool d2v_emulate_land_box(void);
// Around each block.
void d2v_emulate_boxes_begin(void);
void d2v_emulate_boxes_end(void);

#endif
