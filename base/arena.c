#include "base/arena.h"

#define BASE_ALIGNMENT 64 // what d2v_alloc gives; cudaMalloc gives more

// Pieces of a measuring arena start here: an address no process has on x86-64 (not canonical), so that following one
// traps.
static const uintptr_t nowhere = (uintptr_t)1 << 62;

void d2v_arena_init(d2v_arena *arena, void *block, size_t size) {
	D2V_ASSERT(block && (uintptr_t)block % BASE_ALIGNMENT == 0);
	*arena = (d2v_arena){ .base = block, .size = size };
}

void d2v_arena_init_measuring(d2v_arena *arena) {
	*arena = (d2v_arena){ .base = NULL, .size = SIZE_MAX };
}

bool d2v_arena_is_measuring(const d2v_arena *arena) {
	return !arena->base;
}

void *d2v_arena_take(d2v_arena *arena, size_t bytes) {
	D2V_ASSERT(bytes <= SIZE_MAX - D2V_ARENA_ALIGN);
	size_t rounded = (bytes + D2V_ARENA_ALIGN - 1) / D2V_ARENA_ALIGN * D2V_ARENA_ALIGN;
	D2V_ASSERT(rounded <= arena->size - arena->used);
	size_t at = arena->used;
	arena->used += rounded;
	if (arena->used > arena->peak)
		arena->peak = arena->used;
	return arena->base ? (void *)(arena->base + at) : (void *)(nowhere + at);
}

size_t d2v_arena_mark(const d2v_arena *arena) {
	return arena->used;
}

void d2v_arena_rewind(d2v_arena *arena, size_t mark) {
	D2V_ASSERT(mark <= arena->used);
	arena->used = mark;
}
