#include "base/memory.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 64          // a cache line, and the widest vector load
#define KEPT_BLOCK (4 << 20)  // larger blocks go back at once
#define KEPT_BYTES (32 << 20) // in each of malloc's heaps

static atomic_long live_blocks;
static atomic_long allowed = -1; // allocations until failing, when not negative
static atomic_long attempts;     // since `allowed` was set; counted only while that is on

void d2v_memory_fail_after(long n) {
	atomic_store(&allowed, -1);
	atomic_store(&attempts, 0);
	atomic_store(&allowed, n < 0 ? -1 : n);
}

long d2v_memory_live(void) {
	return atomic_load(&live_blocks);
}

static bool must_fail(void) {
	long limit = atomic_load_explicit(&allowed, memory_order_relaxed);
	return limit >= 0 && atomic_fetch_add(&attempts, 1) >= limit;
}

// NULL when count * size overflows or there is no memory.
static void *take_block(size_t count, size_t size) {
	size_t bytes, rounded;
	if (!d2v_mul_fits(count, size, &bytes) || !d2v_add_fits(bytes, ALIGNMENT - 1, &rounded) || must_fail())
		return NULL;
	rounded -= rounded % ALIGNMENT;
	void *block = aligned_alloc(ALIGNMENT, rounded ? rounded : ALIGNMENT);
	if (block)
		atomic_fetch_add_explicit(&live_blocks, 1, memory_order_relaxed);
	return block;
}

// Callers hand in the address of a pointer of any object type; copying it as bytes keeps to the aliasing rules.
static void store_pointer(void *out, void *block) {
	memcpy(out, &block, sizeof block);
}

static void *load_pointer(const void *inout) {
	void *block;
	memcpy(&block, inout, sizeof block);
	return block;
}

static d2v_status fail_no_memory(d2v_error *err, size_t count, size_t size) {
	return d2v_fail(err, D2V_NO_MEMORY, "no memory for %zu times %zu bytes", count, size);
}

d2v_status d2v_alloc(void *out, size_t count, size_t size, d2v_error *err) {
	void *block = take_block(count, size);
	store_pointer(out, block);
	return block ? D2V_OK : fail_no_memory(err, count, size);
}

d2v_status d2v_alloc_zero(void *out, size_t count, size_t size, d2v_error *err) {
	void *block = take_block(count, size);
	store_pointer(out, block);
	if (!block)
		return fail_no_memory(err, count, size);
	memset(block, 0, count * size);
	return D2V_OK;
}

// realloc(3) does not keep an alignment, so this is always a new block and a copy.
d2v_status d2v_realloc(void *inout, size_t old_count, size_t count, size_t size, d2v_error *err) {
	void *old = load_pointer(inout);
	void *block = take_block(count, size);
	if (!block)
		return fail_no_memory(err, count, size);
	size_t kept = old_count < count ? old_count : count;
	if (old && kept)
		memcpy(block, old, kept * size);
	store_pointer(inout, block);
	d2v_free(old);
	return D2V_OK;
}

d2v_status d2v_reserve(void *inout, size_t *capacity, size_t need, size_t size, d2v_error *err) {
	if (need <= *capacity && load_pointer(inout))
		return D2V_OK;
	size_t grown = *capacity < 16 ? 16 : *capacity;
	if (grown < need && (!d2v_add_fits(grown, grown / 2, &grown) || grown < need))
		grown = need;
	D2V_TRY(d2v_realloc(inout, *capacity, grown, size, err));
	*capacity = grown;
	return D2V_OK;
}

d2v_status d2v_strdup(char **out, const char *text, d2v_error *err) {
	size_t size = strlen(text) + 1;
	D2V_TRY(d2v_alloc(out, size, 1, err));
	memcpy(*out, text, size);
	return D2V_OK;
}

d2v_status d2v_asprintf(char **out, d2v_error *err, const char *format, ...) {
	va_list args, again;
	va_start(args, format);
	va_copy(again, args);
	*out = NULL;
	int length = vsnprintf(NULL, 0, format, args);
	d2v_status status = length < 0 ? d2v_fail(err, D2V_INVALID, "a text cannot be formatted as '%s'", format)
								   : d2v_alloc(out, (size_t)length + 1, 1, err);
	if (status == D2V_OK)
		vsnprintf(*out, (size_t)length + 1, format, again);
	va_end(again);
	va_end(args);
	return status;
}

void d2v_memory_keep_freed(void) {
	mallopt(M_MMAP_THRESHOLD, KEPT_BLOCK);
	mallopt(M_TRIM_THRESHOLD, KEPT_BYTES);
}

void d2v_free(void *pointer) {
	if (!pointer)
		return;
	atomic_fetch_sub_explicit(&live_blocks, 1, memory_order_relaxed);
	free(pointer);
}
