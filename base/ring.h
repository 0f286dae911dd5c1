// The ordered ring: the one place where threads meet.
//
// Workers claim tickets 0, 1, 2, ... in order, each with a slot (ticket % slots) that is theirs until they publish it. One
// consumer takes the tickets in the same order, whoever finished first, and gives each slot back. So the result is the same for
// any number of workers, and memory is bounded by the number of slots. What a slot holds is the caller's; a worker's error
// travels in its slot and surfaces where it belongs.
//
// The consumer is a thread that waits (take), or a part that the workers play in turn (take_published).
//
// Life: new -> workers: claim, publish ...; consumer: take, give ... -> stop -> join the workers -> free.
// Threads: any number of workers, one consumer at a time. The ring's mutex guards only its own state and is never held by callers.
#ifndef D2V_BASE_RING_H
#define D2V_BASE_RING_H

#include "base/error.h"

#include <stdint.h>

typedef struct d2v_ring d2v_ring;

d2v_status d2v_ring_new(d2v_ring **ring, size_t slots, d2v_error *err);
void d2v_ring_free(d2v_ring *ring); // NULL is allowed; no thread may be inside

// Waits for a free slot. False: the ring was stopped, or has ended before this ticket.
bool d2v_ring_claim(d2v_ring *ring, uint64_t *ticket, size_t *slot);
void d2v_ring_publish(d2v_ring *ring, uint64_t ticket);
// No ticket >= end will be handed out or waited for: the worker that finds the source empty calls this with its own ticket
// instead of publishing it. The smallest end counts.
void d2v_ring_end(d2v_ring *ring, uint64_t end);

// Waits until the next ticket in order is published. False: stopped, or ended and all before the end were taken.
// Several tickets may be taken before the first is given back, up to the number of slots.
bool d2v_ring_take(d2v_ring *ring, uint64_t *ticket, size_t *slot);
// Without waiting: a worker that has published asks until the answer is no, and gives back each ticket before it asks again.
// False: stopped, the next ticket is not published, or another worker has one, who will ask again. So what was published is
// taken by somebody, and the consumer needs no thread of its own.
bool d2v_ring_take_published(d2v_ring *ring, uint64_t *ticket, size_t *slot);
void d2v_ring_give(d2v_ring *ring, uint64_t ticket); // in the order they were taken

// Wakes everybody; every wait returns false from now on.
void d2v_ring_stop(d2v_ring *ring);

// Nanoseconds spent waiting, for telling which side is the slower one.
typedef struct d2v_ring_waits {
	uint64_t consumer_ns; // in take: the workers were too slow
	uint64_t workers_ns;  // in claim, summed over workers: the consumer was too slow
} d2v_ring_waits;
d2v_ring_waits d2v_ring_waited(d2v_ring *ring);

#endif
