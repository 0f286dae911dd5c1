#include "base/ring.h"

#include "base/memory.h"

#include <pthread.h>
#include <time.h>

// Tickets are counted without end; ticket t lives in slot t % slots. Always given <= taken <= claimed <= given + slots,
// where taken stops at `end`, and claimed may have gone past it before the end was known.
struct d2v_ring {
	pthread_mutex_t mutex;    // guards everything below
	pthread_cond_t published; // the consumer waits here
	pthread_cond_t freed;     // workers wait here
	size_t slots;
	uint64_t claimed, taken, given; // tickets handed to workers, to the consumer, and given back
	uint64_t end;
	bool stopped;
	bool *ready; // (slots) published and not taken
	d2v_ring_waits waits;
};

d2v_status d2v_ring_new(d2v_ring **ring, size_t slots, d2v_error *err) {
	d2v_ring *made;
	*ring = NULL;
	if (!slots)
		return d2v_fail(err, D2V_INVALID, "a ring needs at least one slot");
	D2V_TRY(d2v_alloc_zero(&made, 1, sizeof *made, err));
	d2v_status status = d2v_alloc_zero(&made->ready, slots, sizeof *made->ready, err);
	if (status != D2V_OK) {
		d2v_free(made);
		return status;
	}
	pthread_mutex_init(&made->mutex, NULL);
	pthread_cond_init(&made->published, NULL);
	pthread_cond_init(&made->freed, NULL);
	made->slots = slots;
	made->end = UINT64_MAX;
	*ring = made;
	return D2V_OK;
}

void d2v_ring_free(d2v_ring *ring) {
	if (!ring)
		return;
	pthread_cond_destroy(&ring->freed);
	pthread_cond_destroy(&ring->published);
	pthread_mutex_destroy(&ring->mutex);
	d2v_free(ring->ready);
	d2v_free(ring);
}

static uint64_t nanoseconds(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

// The clock is read only when there really is something to wait for.
static void wait_counted(d2v_ring *ring, pthread_cond_t *condition, uint64_t *waited) {
	uint64_t start = nanoseconds();
	pthread_cond_wait(condition, &ring->mutex);
	*waited += nanoseconds() - start;
}

bool d2v_ring_claim(d2v_ring *ring, uint64_t *ticket, size_t *slot) {
	pthread_mutex_lock(&ring->mutex);
	while (!ring->stopped && ring->claimed < ring->end && ring->claimed - ring->given == ring->slots)
		wait_counted(ring, &ring->freed, &ring->waits.workers_ns);
	bool granted = !ring->stopped && ring->claimed < ring->end;
	if (granted) {
		*ticket = ring->claimed++;
		*slot = *ticket % ring->slots;
	}
	pthread_mutex_unlock(&ring->mutex);
	return granted;
}

void d2v_ring_publish(d2v_ring *ring, uint64_t ticket) {
	pthread_mutex_lock(&ring->mutex);
	D2V_ASSERT(ticket < ring->claimed && (ticket >= ring->taken || ticket >= ring->end));
	ring->ready[ticket % ring->slots] = true;
	if (ticket == ring->taken)
		pthread_cond_signal(&ring->published);
	pthread_mutex_unlock(&ring->mutex);
}

void d2v_ring_end(d2v_ring *ring, uint64_t end) {
	pthread_mutex_lock(&ring->mutex);
	if (end < ring->end)
		ring->end = end;
	pthread_cond_broadcast(&ring->published);
	pthread_cond_broadcast(&ring->freed);
	pthread_mutex_unlock(&ring->mutex);
}

static void take_next(d2v_ring *ring, uint64_t *ticket, size_t *slot) {
	*ticket = ring->taken++;
	*slot = *ticket % ring->slots;
	ring->ready[*slot] = false;
}

bool d2v_ring_take(d2v_ring *ring, uint64_t *ticket, size_t *slot) {
	pthread_mutex_lock(&ring->mutex);
	for (;;) {
		if (ring->stopped || ring->taken >= ring->end) {
			pthread_mutex_unlock(&ring->mutex);
			return false;
		}
		D2V_ASSERT(
			ring->taken - ring->given < ring->slots); // else all slots are the consumer's own, and this waits for ever
		if (ring->ready[ring->taken % ring->slots])
			break;
		wait_counted(ring, &ring->published, &ring->waits.consumer_ns);
	}
	take_next(ring, ticket, slot);
	pthread_mutex_unlock(&ring->mutex);
	return true;
}

bool d2v_ring_take_published(d2v_ring *ring, uint64_t *ticket, size_t *slot) {
	pthread_mutex_lock(&ring->mutex);
	bool granted = !ring->stopped && ring->taken < ring->end && ring->taken == ring->given &&
				   ring->ready[ring->taken % ring->slots];
	if (granted)
		take_next(ring, ticket, slot);
	pthread_mutex_unlock(&ring->mutex);
	return granted;
}

void d2v_ring_give(d2v_ring *ring, uint64_t ticket) {
	pthread_mutex_lock(&ring->mutex);
	D2V_ASSERT(ticket == ring->given && ticket < ring->taken);
	ring->given++;
	pthread_cond_signal(&ring->freed);
	pthread_mutex_unlock(&ring->mutex);
}

void d2v_ring_stop(d2v_ring *ring) {
	pthread_mutex_lock(&ring->mutex);
	ring->stopped = true;
	pthread_cond_broadcast(&ring->published);
	pthread_cond_broadcast(&ring->freed);
	pthread_mutex_unlock(&ring->mutex);
}

d2v_ring_waits d2v_ring_waited(d2v_ring *ring) {
	pthread_mutex_lock(&ring->mutex);
	d2v_ring_waits waits = ring->waits;
	pthread_mutex_unlock(&ring->mutex);
	return waits;
}
