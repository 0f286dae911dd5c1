// Every turn is taken exactly once, by any number of threads, and in the caller's thread when there is one.
#include "base/parallel.h"

#include "tests/base/scratch.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

enum { TURNS = 1000 };

typedef struct taken {
	_Atomic int times[TURNS];
	pthread_t caller;
	atomic_bool elsewhere;
} taken;

static void take(void *context, size_t i) {
	taken *t = context;
	atomic_fetch_add(&t->times[i], 1);
	if (!pthread_equal(pthread_self(), t->caller))
		atomic_store(&t->elsewhere, true);
}

static void test_each_turn_once(void **state) {
	(void)state;
	static taken t;
	static const int threads[] = { -1, 0, 1, 2, 8, 1000 };
	for (size_t k = 0; k < sizeof threads / sizeof *threads; k++)
		for (size_t count = 0; count <= TURNS; count = count * 3 + 1) {
			memset(&t, 0, sizeof t);
			t.caller = pthread_self();
			d2v_parallel_for(count, threads[k], take, &t);
			for (size_t i = 0; i < TURNS; i++)
				assert_int_equal(t.times[i], i < count);
			if (threads[k] < 2)
				assert_false(t.elsewhere);
		}
	assert_true(d2v_parallel_processors() >= 1);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_turn_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
