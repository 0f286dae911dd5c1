// One door to the heap, so that a test can make the n-th allocation fail and walk every failure path.
//
// Every d2v_alloc* is matched by d2v_free. Sizes are checked for overflow; zero bytes give a valid pointer.
// Threads: all functions may be called from any thread.
#ifndef D2V_BASE_MEMORY_H
#define D2V_BASE_MEMORY_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

// count * size bytes, 64-byte aligned, not cleared / cleared. *out is NULL on failure.
d2v_status d2v_alloc(void *out, size_t count, size_t size, d2v_error *err);
d2v_status d2v_alloc_zero(void *out, size_t count, size_t size, d2v_error *err);
// Grows or shrinks *inout (NULL: a fresh one) from old_count to count elements; on failure *inout is untouched.
d2v_status d2v_realloc(void *inout, size_t old_count, size_t count, size_t size, d2v_error *err);
// Grows *inout geometrically so that it holds at least `need` elements; *capacity is in elements.
d2v_status d2v_reserve(void *inout, size_t *capacity, size_t need, size_t size, d2v_error *err);
d2v_status d2v_strdup(char **out, const char *text, d2v_error *err);
// "printf into a fresh string".
d2v_status d2v_asprintf(char **out, d2v_error *err, const char *format, ...) __attribute__((format(printf, 3, 4)));
void d2v_free(void *pointer); // NULL is allowed
// For programs that fill and free the same megabytes again and again: what is freed is kept for the next block (up to 32 MiB
// at the end of the heap) instead of being given back to the kernel, which would have to clear it anew. It holds for the
// whole process; call it before threads start.
void d2v_memory_keep_freed(void);

// false when a*b or a+b does not fit.
static inline bool d2v_mul_fits(size_t a, size_t b, size_t *product) { return !__builtin_mul_overflow(a, b, product); }
static inline bool d2v_add_fits(size_t a, size_t b, size_t *sum) { return !__builtin_add_overflow(a, b, sum); }

// Tests: the n-th allocation from now (0 = the next one) and all after it fail; a negative n switches that off.
// d2v_memory_live counts blocks not freed yet.
void d2v_memory_fail_after(long n);
long d2v_memory_live(void);

#endif
