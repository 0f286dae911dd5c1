// Copies of boxes to shared memory and back, and their barriers on the processor (emulated_bulk_copy.cc), for
// kernels/cuda/bulk_copy.cuh.
#ifndef D2V_TESTS_EMULATION_EMULATED_BULK_COPY_H
#define D2V_TESTS_EMULATION_EMULATED_BULK_COPY_H

#include <stddef.h>
#include <stdint.h>

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
// The way back: what lies in shared memory when the thread waits is stored then.
void d2v_emulate_store_box(const d2v_emulated_map *map, int column, int row, int which, const void *from);
void d2v_emulate_stores_commit(void);
void d2v_emulate_stores_wait(size_t pending);

// For the scheduler: whether a waiting thread may go on; lands the copy that has waited longest (false: there is none).
bool d2v_emulate_barrier_is_open(const uint64_t *barrier, unsigned parity);
bool d2v_emulate_land_box(void);
// Around each block.
void d2v_emulate_boxes_begin(void);
void d2v_emulate_boxes_end(void);

#endif
