// Products of warpgroups on the processor (emulated_wgmma.cc), for kernels/cuda/wgmma.cuh.
#ifndef D2V_TESTS_EMULATION_EMULATED_WGMMA_H
#define D2V_TESTS_EMULATION_EMULATED_WGMMA_H

#include <stddef.h>
#include <stdint.h>

// d (the thread's columns / 2 sums) = or += a b. a_words: the thread's fragment of a, or NULL: a is a matrix in shared
// memory, as b is. Orders: 0 where k goes along the rows of shared memory, else 1.
void d2v_emulate_products(
	float *d, int columns, const uint32_t *a_words, uint64_t a, int a_order, uint64_t b, int b_order, bool add);
void d2v_emulate_products_fence(void);
void d2v_emulate_products_commit(void);
void d2v_emulate_products_wait(size_t pending);

// What copies and ordinary stores wrote to shared memory is visible to products and bulk copies after the fence only.
void d2v_emulate_shared_store(const void *to, size_t bytes);
void d2v_emulate_shared_fence(void);
bool d2v_emulate_shared_is_fenced(const void *from, size_t bytes);

// The block's shared memory, which begins at address 0.
size_t d2v_emulate_shared_size(void);
unsigned d2v_emulate_shared_address(const void *at);

// Around each block of `count` threads.
void d2v_emulate_products_begin(size_t count);
void d2v_emulate_products_end(size_t count);

#endif
