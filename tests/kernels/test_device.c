#include "kernels/ops.h"

#include "base/memory.h"

#include <float.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
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
	static const char *const wrong[] = { "", "gpu", "cpu:", "cpu:0", "cpu:-1", "cpu:x", "cpu:2x", "cpus", "cuda:",
		"cpu:f16", "cuda:0:f8", "cuda:0:f16x" };
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		assert_int_equal(d2v_device_open(&dev, wrong[i], &err), D2V_INVALID);
		assert_null(dev);
		assert_non_null(strstr(err.text, "cpu:THREADS"));
	}
}

// What a name says of the working type. Where there is no GPU the name is understood all the same.
static void test_types(void **state) {
	(void)state;
	static const struct {
		const char *name, *told;
		size_t size;
		double max;
	} types[] = { { "cuda:0", "cuda:0", 2, 0x1.fep127 }, { "cuda:0:bf16", "cuda:0", 2, 0x1.fep127 },
		{ "cuda:0:f16", "cuda:0:f16", 2, 65504 }, { "cuda:0:f32", "cuda:0:f32", 4, (double)FLT_MAX },
		{ "cpu:1", "cpu:1", 4, (double)FLT_MAX } };
	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		d2v_device *dev;
		d2v_error err = { 0 };
		d2v_status status = d2v_device_open(&dev, types[i].name, &err);
		if (status == D2V_UNSUPPORTED)
			continue;
		assert_int_equal(status, D2V_OK);
		assert_string_equal(d2v_device_name(dev), types[i].told);
		assert_int_equal(d2v_device_real_size(dev), types[i].size);
		assert_true(d2v_device_real_max(dev) == types[i].max);
		d2v_device_close(dev);
	}
}

// Cards by the names their drivers give them; only emulated ones can be named (tests/emulation/).
static void test_datasheets(void **state) {
	(void)state;
	static const struct {
		const char *card;
		double tflops;
	} cards[] = { { "NVIDIA H200", 989 }, { "NVIDIA H100 80GB HBM3", 989 }, { "NVIDIA H100 PCIe", 756 },
		{ "NVIDIA GH200 480GB", 989 }, { "NVIDIA A100-SXM4-40GB", 312 }, { "NVIDIA A10", 125 }, { "NVIDIA A10G", 0 },
		{ "NVIDIA L40S", 362 }, { "NVIDIA L4", 121 }, { "NVIDIA GeForce RTX 4090", 165.2 },
		{ "NVIDIA GeForce RTX 4090 Laptop GPU", 0 }, { "NVIDIA RTX A4000", 0 }, { "NVIDIA RTX A1000", 0 },
		{ "Tesla V100-SXM2-16GB", 0 }, { "emulated", 0 } };
	static const char *const types[] = { "cuda:0", "cuda:0:f16", "cuda:0:tf32", "cuda:0:f32" };
	d2v_device *dev;
	setenv("D2V_EMULATED_CARD", "L4", 1);
	bool emulated = d2v_device_open(&dev, "cuda:0", NULL) == D2V_OK && d2v_device_datasheet(dev) == 121e12;
	d2v_device_close(dev);
	for (size_t i = 0; emulated && i < sizeof cards / sizeof *cards; i++)
		for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
			setenv("D2V_EMULATED_CARD", cards[i].card, 1);
			assert_int_equal(d2v_device_open(&dev, types[k], NULL), D2V_OK);
			double want = k < 2 ? cards[i].tflops * 1e12 : 0; // the data sheets' products are of 16 bits
			if (!(d2v_device_datasheet(dev) == want))
				fail_msg("%s, %s: %g, expected %g", cards[i].card, types[k], d2v_device_datasheet(dev), want);
			d2v_device_close(dev);
		}
	unsetenv("D2V_EMULATED_CARD");
	if (!emulated)
		skip();
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

// Under OMP_DYNAMIC a busy machine gives fewer threads than asked for, and a device's number of them decides about bytes.
static void test_threads(void **state) {
	(void)state;
	d2v_device *dev;
	char byte = 1;
	assert_int_equal(d2v_device_open(&dev, "cpu:2", NULL), D2V_OK);
	omp_set_dynamic(1);
	d2v_device_zero(dev, &byte, 1);
	assert_int_equal(byte, 0);
	assert_false(omp_get_dynamic());
	assert_int_equal(omp_get_max_threads(), 2);
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
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_datasheets),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_dry),
		cmocka_unit_test(test_first_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
