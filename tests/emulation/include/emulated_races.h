// Data races of emulated kernels (emulated_races.cc): two accesses to the same memory, one of them a write, that
// nothing puts in an order, whatever order the emulation happened to take. What is asked of it does nothing unless
// kernels are in the program that were compiled with the compiler's calls for ThreadSanitizer.
#ifndef D2V_TESTS_EMULATION_EMULATED_RACES_H
#define D2V_TESTS_EMULATION_EMULATED_RACES_H

#include <stddef.h>
#include <stdint.h>

// How many there were since it was asked last. Those that nobody asks for end the program with 1.
size_t d2v_races_found(void);

// Around each block of `count` threads. launch: the first block of a grid; what earlier grids did is before all of it.
void d2v_races_begin(size_t count, bool launch);
void d2v_races_end(void);
// The thread that goes on now.
void d2v_races_run(size_t thread);

// What one of these threads has done before is before what any of them does from now on.
void d2v_races_meet(const size_t *met, size_t count);

// Accesses of the running thread: those that the compiler tells of, code is where they are, and those that it does not
// see.
void d2v_races_access(const void *at, size_t bytes, bool write, const void *code);
void d2v_races_read(const void *from, size_t bytes);
void d2v_races_write(void *to, size_t bytes);
// From now on it is looked for races: there is code that tells of its accesses.
void d2v_races_look(void);

// Ordinary accesses before are before what products and bulk copies do that are asked for by whoever comes after.
void d2v_races_proxy_fence(void);
// __threadfence(), and an atomic operation: blocks are in an order by them alone.
void d2v_races_device_fence(void);
void d2v_races_atomic(const void *at);

// A barrier in shared memory: made and made known to the copy engine, arrived at, opened by the last arrival, passed.
void d2v_races_barrier_made(const uint64_t *barrier);
void d2v_races_barrier_arrive(const uint64_t *barrier);
void d2v_races_barrier_open(const uint64_t *barrier);
void d2v_races_barrier_pass(const uint64_t *barrier);
// A copy to shared memory that counts for a barrier: from when it is asked for anything there may change.
void d2v_races_fetch(void *to, size_t bytes, const uint64_t *barrier);
// A copy from shared memory, the thread's group number `group`, and the wait for all groups below `end`.
void d2v_races_store(const void *from, size_t bytes, size_t group);
void d2v_races_stored(size_t end);
// A warp's products: its number `number` reads, and the thread's wait for all numbers below `end`.
void d2v_races_multiply(const void *from, size_t bytes, size_t number);
void d2v_races_multiplied(size_t end);

#endif
