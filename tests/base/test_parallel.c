// Every turn is taken exactly once, by any number of threads, and in the caller's thread when there is one.
#include "base/file.h"
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

static int quota_of(void **state, const char *name, const char *text, const char *second, const char *more) {
	d2v_error err;
	assert_ok(d2v_file_make_directories(scratch_path(state, "group/cpu"), &err));
	assert_ok(d2v_file_replace(scratch_path(state, name), text, strlen(text), &err));
	if (second)
		assert_ok(d2v_file_replace(scratch_path(state, second), more, strlen(more), &err));
	int quota = d2v_parallel_quota(scratch_path(state, "group"));
	assert_ok(d2v_file_remove_tree(scratch_path(state, "group"), &err));
	return quota;
}

static void test_quotas(void **state) {
	static const char max[] = "group/cpu.max", quota[] = "group/cpu/cpu.cfs_quota_us",
					  period[] = "group/cpu/cpu.cfs_period_us";
	assert_int_equal(quota_of(state, max, "400000 100000\n", NULL, NULL), 4);
	assert_int_equal(quota_of(state, max, "150000 100000\n", NULL, NULL), 2);
	assert_int_equal(quota_of(state, max, "5000 100000\n", NULL, NULL), 1);
	assert_int_equal(quota_of(state, max, "max 100000\n", NULL, NULL), 0);
	assert_int_equal(quota_of(state, max, "nonsense", NULL, NULL), 0);
	assert_int_equal(quota_of(state, max, "nan inf", NULL, NULL), 0);
	assert_int_equal(quota_of(state, max, "1e300 1e-300", NULL, NULL), 0);
	assert_int_equal(quota_of(state, quota, "250000\n", period, "100000\n"), 3);
	assert_int_equal(quota_of(state, quota, "-1\n", period, "100000\n"), 0);
	assert_int_equal(quota_of(state, quota, "250000\n", NULL, NULL), 0);
	assert_int_equal(d2v_parallel_quota(scratch_path(state, "nowhere")), 0);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_turn_once),
		cmocka_unit_test_setup_teardown(test_quotas, scratch_set_up, scratch_tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
