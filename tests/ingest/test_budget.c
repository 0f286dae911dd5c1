// Bytes in flight: bounded, but the oldest ticket never waits; a stop wakes everybody.
#include "tests/base/scratch.h"

#include "ingest/budget.h"

#include <pthread.h>
#include <stdatomic.h>

#define LIMIT 1000

typedef struct waiter {
	d2v_budget *budget;
	uint64_t ticket, bytes;
	atomic_int state; // 0: not granted, 1: granted, 2: refused
	pthread_t thread;
} waiter;

static void *ask(void *context) {
	waiter *w = context;
	atomic_store(&w->state, d2v_budget_reserve(w->budget, w->ticket, w->bytes) ? 1 : 2);
	return NULL;
}

static void start(waiter *w, d2v_budget *budget, uint64_t ticket, uint64_t bytes) {
	*w = (waiter){ .budget = budget, .ticket = ticket, .bytes = bytes };
	assert_int_equal(pthread_create(&w->thread, NULL, ask, w), 0);
}

static int end(waiter *w) {
	pthread_join(w->thread, NULL);
	return atomic_load(&w->state);
}

static void test_oldest_goes_first(void **state) {
	(void)state;
	d2v_budget *budget;
	d2v_error err = { 0 };
	waiter second;
	assert_ok(d2v_budget_new(&budget, LIMIT, &err));
	assert_true(d2v_budget_reserve(budget, 2, 800));
	start(&second, budget, 1, 300); // waits: there are 200
	assert_true(d2v_budget_reserve(budget, 0, 5000));
	assert_int_equal(d2v_budget_peak(budget), 5800);
	assert_int_equal(atomic_load(&second.state), 0);
	d2v_budget_release(budget, 5000);
	d2v_budget_advance(budget, 1); // ticket 1 is the oldest now
	assert_int_equal(end(&second), 1);
	d2v_budget_release(budget, 1100);
	d2v_budget_free(budget);
}

static void test_release_wakes(void **state) {
	(void)state;
	d2v_budget *budget;
	d2v_error err = { 0 };
	waiter later;
	assert_ok(d2v_budget_new(&budget, LIMIT, &err));
	assert_true(d2v_budget_reserve(budget, 1, LIMIT));
	start(&later, budget, 2, 400);
	d2v_budget_release(budget, 400);
	assert_int_equal(end(&later), 1);
	assert_int_equal(d2v_budget_peak(budget), LIMIT);
	d2v_budget_free(budget);
}

static void test_stop(void **state) {
	(void)state;
	d2v_budget *budget;
	d2v_error err = { 0 };
	waiter waiting[3];
	assert_ok(d2v_budget_new(&budget, LIMIT, &err));
	assert_true(d2v_budget_reserve(budget, 1, LIMIT));
	for (int i = 0; i < 3; i++)
		start(&waiting[i], budget, 2 + (uint64_t)i, 1);
	d2v_budget_stop(budget);
	for (int i = 0; i < 3; i++)
		assert_int_equal(end(&waiting[i]), 2);
	assert_false(d2v_budget_reserve(budget, 0, 1)); // not even the oldest
	d2v_budget_free(budget);
	d2v_budget_free(NULL);
}

// Many tickets in order, each keeping its bytes until it is the oldest, as the pipeline does: all are served, and what
// is held never passes the limit by more than the one exception.
typedef struct crowd {
	d2v_budget *budget;
	atomic_uint_fast64_t next, done;
} crowd;

static void *work(void *context) {
	crowd *c = context;
	for (uint64_t ticket; (ticket = atomic_fetch_add(&c->next, 1)) < 400;) {
		uint64_t bytes = 100 + ticket * 37 % 300;
		if (!d2v_budget_reserve(c->budget, ticket, bytes))
			return NULL;
		while (atomic_load(&c->done) != ticket)
			sched_yield();
		d2v_budget_release(c->budget, bytes);
		d2v_budget_advance(c->budget, ticket + 1);
		atomic_store(&c->done, ticket + 1);
	}
	return NULL;
}

static void test_crowd(void **state) {
	(void)state;
	crowd c = { 0 };
	d2v_error err = { 0 };
	pthread_t threads[4];
	assert_ok(d2v_budget_new(&c.budget, LIMIT, &err));
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, work, &c), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&c.done), 400);
	assert_in_range(d2v_budget_peak(c.budget), 399, LIMIT + 399); // 399: the largest one
	d2v_budget_free(c.budget);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_oldest_goes_first),
		cmocka_unit_test(test_release_wakes),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_crowd),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
