#include "base/memory.h"
#include "base/ring.h"

#include "tests/base/scratch.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define SLOTS_MAX 8
#define WORKERS_MAX 8

typedef struct fixture {
	d2v_ring *ring;
	uint64_t
		slots[SLOTS_MAX]; // written by a worker between claim and publish, read by the consumer between take and give
	uint64_t source_end;
	atomic_ulong seed;
	bool in_turn; // the workers consume too, whoever finds something published
	uint64_t consumed; // guarded by nothing but the ring: whoever has a ticket may touch it
} fixture;

static void sleep_up_to(unsigned *seed, unsigned microseconds) {
	struct timespec nap = { .tv_nsec =
								(long)((*seed = *seed * 1103515245u + 12345u) >> 8) % (long)(microseconds * 1000) };
	nanosleep(&nap, NULL);
}

static void consume_published(fixture *f) {
	uint64_t ticket;
	size_t slot;
	while (d2v_ring_take_published(f->ring, &ticket, &slot)) {
		D2V_ASSERT(ticket == f->consumed && f->slots[slot] == ticket * ticket);
		f->consumed++;
		d2v_ring_give(f->ring, ticket);
	}
}

static void *work(void *context) {
	fixture *f = context;
	unsigned seed = (unsigned)atomic_fetch_add(&f->seed, 7919);
	uint64_t ticket;
	size_t slot;
	while (d2v_ring_claim(f->ring, &ticket, &slot)) {
		sleep_up_to(&seed, f->in_turn ? 100 : 300);
		if (ticket >= f->source_end) {
			d2v_ring_end(f->ring, ticket);
			break;
		}
		f->slots[slot] = ticket * ticket;
		d2v_ring_publish(f->ring, ticket);
		if (f->in_turn)
			consume_published(f);
	}
	return NULL;
}

static void start(fixture *f, size_t slots, pthread_t *threads, int workers, uint64_t source_end) {
	d2v_error err;
	assert_ok(d2v_ring_new(&f->ring, slots, &err));
	f->source_end = source_end;
	atomic_store(&f->seed, 1);
	for (int i = 0; i < workers; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, work, f), 0);
}

static void join(fixture *f, pthread_t *threads, int workers) {
	for (int i = 0; i < workers; i++)
		pthread_join(threads[i], NULL);
	d2v_ring_free(f->ring);
}

static void check_order(size_t slots, int workers, uint64_t count) {
	fixture f = { 0 };
	pthread_t threads[WORKERS_MAX];
	unsigned seed = 3;
	uint64_t ticket, expected = 0;
	size_t slot;
	start(&f, slots, threads, workers, count);
	while (d2v_ring_take(f.ring, &ticket, &slot)) {
		assert_int_equal(ticket, expected++);
		assert_int_equal(slot, ticket % slots);
		assert_int_equal(f.slots[slot], ticket * ticket);
		if (ticket % 16 == 0)
			sleep_up_to(&seed, 500);
		d2v_ring_give(f.ring, ticket);
	}
	assert_int_equal(expected, count);
	assert_false(d2v_ring_take(f.ring, &ticket, &slot));
	assert_false(d2v_ring_claim(f.ring, &ticket, &slot));
	join(&f, threads, workers);
}

static void test_order_with_any_number_of_workers(void **state) {
	(void)state;
	static const int workers[] = { 1, 2, 8 };
	static const size_t slots[] = { 1, 3, 8 };
	for (int i = 0; i < 3; i++)
		for (int j = 0; j < 3; j++)
			check_order(slots[j], workers[i], 200);
	check_order(4, 8, 0);
	check_order(4, 8, 1);
}

static void test_workers_consume_in_turn(void **state) {
	(void)state;
	static const int workers[] = { 1, 2, 8 };
	static const size_t slots[] = { 1, 3, 8 };
	for (int i = 0; i < 9; i++) {
		fixture f = { .in_turn = true };
		pthread_t threads[WORKERS_MAX];
		uint64_t ticket;
		size_t slot;
		start(&f, slots[i / 3], threads, workers[i % 3], 300);
		for (int k = 0; k < workers[i % 3]; k++)
			pthread_join(threads[k], NULL);
		assert_int_equal(f.consumed, 300); // none was left behind
		assert_false(d2v_ring_take_published(f.ring, &ticket, &slot));
		d2v_ring_free(f.ring);
	}
}

static void test_taking_what_is_published_does_not_wait(void **state) {
	(void)state;
	d2v_error err;
	d2v_ring *ring;
	uint64_t ticket;
	size_t slot;
	assert_ok(d2v_ring_new(&ring, 4, &err));
	for (uint64_t i = 0; i < 4; i++)
		assert_true(d2v_ring_claim(ring, &ticket, &slot) && ticket == i);
	d2v_ring_publish(ring, 1);
	assert_false(d2v_ring_take_published(ring, &ticket, &slot)); // ticket 0 comes first
	d2v_ring_publish(ring, 0);
	assert_true(d2v_ring_take_published(ring, &ticket, &slot) && ticket == 0);
	assert_false(d2v_ring_take_published(ring, &ticket, &slot)); // one at a time
	d2v_ring_give(ring, 0);
	assert_true(d2v_ring_take_published(ring, &ticket, &slot) && ticket == 1 && slot == 1);
	d2v_ring_give(ring, 1);
	d2v_ring_publish(ring, 2);
	d2v_ring_stop(ring);
	assert_false(d2v_ring_take_published(ring, &ticket, &slot));
	d2v_ring_free(ring);
}

static void test_several_taken_at_once(void **state) {
	(void)state;
	fixture f = { 0 };
	pthread_t threads[2];
	uint64_t tickets[4];
	size_t slot;
	start(&f, 4, threads, 2, 40);
	for (int round = 0; round < 10; round++) {
		for (int i = 0; i < 4; i++) {
			assert_true(d2v_ring_take(f.ring, &tickets[i], &slot));
			assert_int_equal(tickets[i], 4 * round + i);
		}
		for (int i = 0; i < 4; i++) {
			assert_int_equal(f.slots[tickets[i] % 4], tickets[i] * tickets[i]);
			d2v_ring_give(f.ring, tickets[i]);
		}
	}
	assert_false(d2v_ring_take(f.ring, &tickets[0], &slot));
	join(&f, threads, 2);
}

static void test_stop_wakes_everybody(void **state) {
	(void)state;
	for (int taken = 0; taken < 6; taken++) {
		fixture f = { 0 };
		pthread_t threads[WORKERS_MAX];
		uint64_t ticket;
		size_t slot;
		start(&f, 3, threads, 8, UINT64_MAX); // soon all workers wait for a slot
		for (int i = 0; i < taken; i++) {
			assert_true(d2v_ring_take(f.ring, &ticket, &slot));
			d2v_ring_give(f.ring, ticket);
		}
		d2v_ring_stop(f.ring);
		assert_false(d2v_ring_take(f.ring, &ticket, &slot));
		join(&f, threads, 8);
	}
}

static void *take_one(void *context) {
	uint64_t ticket;
	size_t slot;
	return d2v_ring_take(context, &ticket, &slot) ? context : NULL;
}

static void test_stop_and_end_wake_the_consumer(void **state) {
	(void)state;
	for (int by_end = 0; by_end < 2; by_end++) {
		d2v_error err;
		d2v_ring *ring;
		pthread_t consumer;
		void *got;
		assert_ok(d2v_ring_new(&ring, 2, &err));
		pthread_create(&consumer, NULL, take_one, ring);
		nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
		if (by_end)
			d2v_ring_end(ring, 0);
		else
			d2v_ring_stop(ring);
		pthread_join(consumer, &got);
		assert_null(got);
		assert_true(d2v_ring_waited(ring).workers_ns == 0);
		d2v_ring_free(ring);
	}
}

// The consumer naps until the worker is found to have waited for it, which the first naps may be too short for.
static void test_waits_tell_the_slower_side(void **state) {
	(void)state;
	fixture f = { 0 };
	pthread_t thread;
	uint64_t ticket;
	size_t slot;
	start(&f, 2, &thread, 1, 5000);
	do {
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		assert_true(d2v_ring_take(f.ring, &ticket, &slot));
		d2v_ring_give(f.ring, ticket);
	} while (d2v_ring_waited(f.ring).workers_ns == 0);
	d2v_ring_stop(f.ring);
	join(&f, &thread, 1);
}

static void test_smallest_end_counts(void **state) {
	(void)state;
	d2v_error err;
	d2v_ring *ring;
	uint64_t ticket;
	size_t slot;
	assert_ok(d2v_ring_new(&ring, 4, &err));
	for (uint64_t i = 0; i < 3; i++)
		assert_true(d2v_ring_claim(ring, &ticket, &slot) && ticket == i);
	d2v_ring_end(ring, 1);
	d2v_ring_end(ring, 2);
	d2v_ring_publish(ring, 2); // past the end: nobody wants it
	d2v_ring_publish(ring, 0);
	assert_false(d2v_ring_claim(ring, &ticket, &slot));
	assert_true(d2v_ring_take(ring, &ticket, &slot) && ticket == 0);
	assert_false(d2v_ring_take(ring, &ticket, &slot));
	d2v_ring_free(ring);
}

static void test_failures_of_new(void **state) {
	(void)state;
	d2v_error err;
	d2v_ring *ring;
	long before = d2v_memory_live();
	assert_int_equal(d2v_ring_new(&ring, 0, &err), D2V_INVALID);
	for (long n = 0; n < 2; n++) {
		d2v_memory_fail_after(n);
		assert_int_equal(d2v_ring_new(&ring, 4, &err), D2V_NO_MEMORY);
		d2v_memory_fail_after(-1);
		assert_null(ring);
	}
	assert_int_equal(d2v_memory_live(), before);
	d2v_ring_free(NULL);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_with_any_number_of_workers),
		cmocka_unit_test(test_workers_consume_in_turn),
		cmocka_unit_test(test_taking_what_is_published_does_not_wait),
		cmocka_unit_test(test_several_taken_at_once),
		cmocka_unit_test(test_stop_wakes_everybody),
		cmocka_unit_test(test_stop_and_end_wake_the_consumer),
		cmocka_unit_test(test_waits_tell_the_slower_side),
		cmocka_unit_test(test_smallest_end_counts),
		cmocka_unit_test(test_failures_of_new),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
