#include "kernels/ops.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void test_names(void **state) {
	(void)state;
	d2v_device *dev;
	d2v_error err = { 0 };
	assert_int_equal(d2v_device_open(&dev, "cpu:2", &err), D2V_OK);
	assert_string_equal(d2v_device_name(dev), "cpu:2");
	assert_int_equal(d2v_device_threads(dev), 2);
	assert_int_equal(d2v_device_real_size(dev), sizeof(float));
	d2v_device_close(dev);
	assert_int_equal(d2v_device_open(&dev, "auto", &err), D2V_OK);
	d2v_device_close(dev);
	d2v_device_close(NULL);
	static const char *const wrong[] = { "", "gpu", "cpu:", "cpu:0", "cpu:-1", "cpu:x", "cpu:2x", "cpus", "cuda:" };
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		assert_int_equal(d2v_device_open(&dev, wrong[i], &err), D2V_INVALID);
		assert_null(dev);
		assert_non_null(strstr(err.text, "cpu:THREADS"));
	}
}

static void test_memory(void **state) {
	(void)state;
	d2v_device *dev;
	assert_int_equal(d2v_device_open(&dev, "cpu:2", NULL), D2V_OK);
	long live = d2v_memory_live();
	static const size_t sizes[] = { 0, 1, 1000, 5000000 };
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		unsigned char *a, *b;
		assert_int_equal(d2v_device_alloc(dev, &a, sizes[i], NULL), D2V_OK);
		assert_int_equal(d2v_device_alloc_host(dev, &b, sizes[i], NULL), D2V_OK);
		assert_int_equal((uintptr_t)a % 256, 0);
		memset(b, 7, sizes[i]);
		d2v_device_upload(dev, a, b, sizes[i]);
		d2v_device_zero(dev, b, sizes[i]);
		for (size_t k = 0; k < sizes[i]; k += 97)
			assert_true(a[k] == 7 && b[k] == 0);
		d2v_device_free(dev, a);
		d2v_device_free_host(dev, b);
	}
	void *none = &live;
	d2v_error err = { 0 };
	assert_int_equal(d2v_device_alloc(dev, &none, SIZE_MAX - 5, &err), D2V_NO_MEMORY);
	assert_null(none);
	assert_int_equal(d2v_memory_live(), live);
	d2v_device_free(dev, NULL);
	d2v_device_close(dev);
}

// While planning nothing is touched: these pointers lead nowhere.
static void test_dry(void **state) {
	(void)state;
	d2v_device *dev;
	assert_int_equal(d2v_device_open(&dev, "cpu:2", NULL), D2V_OK);
	d2v_ops_set_dry(dev, true);
	assert_true(d2v_ops_is_dry(dev));
	d2v_real *nowhere = d2v_real_at(dev, (d2v_real *)(uintptr_t)4096, 3);
	assert_int_equal((uintptr_t)nowhere, 4096 + 3 * sizeof(float));
	d2v_add(dev, nowhere, nowhere, 1, 100);
	d2v_device_zero(dev, nowhere, 400);
	d2v_device_copy(dev, nowhere, nowhere, 400);
	d2v_linear_forward(dev, &(d2v_linear){ .x = nowhere, .w = nowhere, .y = nowhere, .rows = 3, .in = 3, .out = 3 });
	d2v_ops_set_dry(dev, false);
	assert_int_equal(d2v_device_sync(dev, NULL), D2V_OK);
	d2v_device_close(dev);
}

// The first error stays until sync, which names the operation; nothing runs in between, everything runs after.
static void test_first_error(void **state) {
	(void)state;
	d2v_device *dev;
	assert_int_equal(d2v_device_open(&dev, "cpu:2", NULL), D2V_OK);
	float x[4] = { 1, 2, 3, 4 }, y[4] = { 0 };
	double sum = -1;
	d2v_memory_fail_after(0);
	d2v_sum_squares(dev, &sum, x, 4); // no scratch
	d2v_memory_fail_after(-1);
	d2v_device_set_error(dev, D2V_INVALID, "a second one");
	d2v_add(dev, (d2v_real *)(void *)y, (d2v_real *)(void *)x, 1, 4);
	assert_true(sum == -1 && y[0] == 0);
	d2v_error err = { 0 };
	assert_int_equal(d2v_device_sync(dev, &err), D2V_NO_MEMORY);
	assert_non_null(strstr(err.text, "sum_squares"));
	assert_int_equal(d2v_device_sync(dev, &err), D2V_OK);
	d2v_sum_squares(dev, &sum, x, 4);
	assert_true(sum == 30);
	d2v_device_close(dev);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_dry),
		cmocka_unit_test(test_first_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
