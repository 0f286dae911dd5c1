// A bump allocator for memory that lives as long as a step.
//
// An arena is either real (it has a block of memory and hands out aligned pieces of it) or measuring (it has none,
// hands out pieces of an address range nobody may touch, and only counts). The same code run once with a measuring
// arena says how large the real one has to be: one source of truth for sizes.
//
// Life: init -> take ... -> mark / rewind -> reset -> ... The arena never frees single pieces. It does not own the
// block: the caller gives it (from the heap, or from a device) and takes it back. Threads: one at a time.
#ifndef D2V_BASE_ARENA_H
#define D2V_BASE_ARENA_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define D2V_ARENA_ALIGN 256 // what CUDA's and AVX-512's loads like

typedef struct d2v_arena {
	unsigned char *base; // NULL: measuring
	size_t size;         // of the block; SIZE_MAX when measuring
	size_t used;
	size_t peak; // largest `used` since init
} d2v_arena;

void d2v_arena_init(d2v_arena *arena, void *block, size_t size);
void d2v_arena_init_measuring(d2v_arena *arena);
bool d2v_arena_is_measuring(const d2v_arena *arena);

// Pieces start at multiples of D2V_ARENA_ALIGN bytes from the start of the block, which must itself be aligned to 64 bytes or more
// (d2v_alloc, cudaMalloc), and their sizes are rounded up to it.
// Never NULL: running out is a mistake of the plan and asserts. In a measuring arena the pointer must not be followed.
void *d2v_arena_take(d2v_arena *arena, size_t bytes);
size_t d2v_arena_mark(const d2v_arena *arena);
void d2v_arena_rewind(d2v_arena *arena, size_t mark); // forgets all that was taken since
static inline void d2v_arena_reset(d2v_arena *arena) { d2v_arena_rewind(arena, 0); }

#endif
