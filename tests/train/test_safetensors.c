#include "train/safetensors.h"

#include "base/file.h"
#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka wants the four above first
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/d2v-safetensors-XXXXXX";
static char path[256];

static int set_up(void **state) {
	(void)state;
	strcpy(folder + strlen(folder) - 6, "XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/x.safetensors", folder);
	return 0;
}

static int tear_down(void **state) {
	(void)state;
	return d2v_file_remove_tree(folder, NULL) == D2V_OK ? 0 : -1;
}

static const float weights[6] = { 1, 2, 3, 4, 5, -6 };
static const int64_t ids[2] = { 7, -8 };

static const d2v_safetensors_tensor tensors[] = {
	{ .name = "a.weight", .dtype = D2V_F32, .rank = 2, .shape = { 2, 3 }, .data = weights },
	{ .name = "empty", .dtype = D2V_U8, .rank = 1, .shape = { 0 }, .data = "" },
	{ .name = "scalar", .dtype = D2V_F32, .rank = 0, .data = weights + 5 },
	{ .name = "ids", .dtype = D2V_I64, .rank = 1, .shape = { 2 }, .data = ids },
};
static const char *const metadata[] = { "format", "d2v", "update", "12", NULL };

static void check_file_holds_tensors(void) {
	d2v_safetensors *file;
	assert_int_equal(d2v_safetensors_open(&file, path, NULL), D2V_OK);
	assert_int_equal(d2v_safetensors_count(file), 4);
	assert_string_equal(d2v_safetensors_at(file, 0)->name, "a.weight");
	const d2v_tensor_info *a = d2v_safetensors_find(file, "a.weight"), *i = d2v_safetensors_find(file, "ids");
	assert_int_equal(a->rank, 2);
	assert_int_equal(a->shape[1], 3);
	assert_memory_equal(a->data, weights, sizeof weights);
	assert_memory_equal(i->data, ids, sizeof ids);
	assert_int_equal(d2v_safetensors_find(file, "scalar")->count, 1);
	assert_null(d2v_safetensors_find(file, "absent"));
	assert_string_equal(d2v_safetensors_metadata(file, "update"), "12");
	assert_null(d2v_safetensors_metadata(file, "absent"));
	d2v_safetensors_close(file);
}

static void what_is_written_is_read(void **state) {
	(void)state;
	assert_int_equal(d2v_safetensors_save(path, tensors, 4, metadata, NULL), D2V_OK);
	check_file_holds_tensors();
}

// The expectation is written out by hand from the format's description.
static void bytes_are_the_formats(void **state) {
	(void)state;
	void *bytes;
	size_t size;
	const d2v_safetensors_tensor one = { .name = "x", .dtype = D2V_F32, .rank = 1, .shape = { 1 }, .data = weights };
	const char header[] = "{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}  ";
	assert_int_equal(d2v_safetensors_save(path, &one, 1, NULL, NULL), D2V_OK);
	assert_int_equal(d2v_file_read(path, 4096, &bytes, &size, NULL), D2V_OK);
	assert_int_equal((sizeof header - 1) % 8, 0);
	assert_int_equal(size, 8 + sizeof header - 1 + 4);
	assert_int_equal(((unsigned char *)bytes)[0], sizeof header - 1);
	assert_memory_equal((char *)bytes + 8, header, sizeof header - 1);
	assert_memory_equal((char *)bytes + 8 + sizeof header - 1, weights, 4);
	d2v_free(bytes);
}

static d2v_status parse_header(const char *header, size_t data_size, d2v_error *err) {
	unsigned char bytes[512] = { 0 };
	size_t length = strlen(header);
	assert_true(8 + length + data_size <= sizeof bytes);
	bytes[0] = (unsigned char)length;
	bytes[1] = (unsigned char)(length >> 8);
	memcpy(bytes + 8, header, length);
	d2v_safetensors *file;
	d2v_status status = d2v_safetensors_parse(&file, bytes, 8 + length + data_size, "hostile", err);
	d2v_safetensors_close(file);
	return status;
}

static void hostile_headers_are_refused(void **state) {
	(void)state;
	static const struct {
		const char *header;
		size_t data;
		d2v_status status;
	} cases[] = {
		{ "{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, D2V_OK },
		{ "{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 5, D2V_CORRUPT }, // bytes after the last
		{ "{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 3, D2V_CORRUPT }, // cut short
		{ "{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4,
			D2V_CORRUPT }, // shape and size disagree
		{ "{\"x\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, D2V_CORRUPT },
		{ "{\"x\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,4294967296],\"data_offsets\":[0,4]}}", 4,
			D2V_CORRUPT },
		{ "{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, D2V_CORRUPT },
		{ "{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4.0]}}", 4, D2V_CORRUPT },
		{ "{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"y\":{\"dtype\":\"F32\",\"shape\":[1],"
		  "\"data_offsets\":[0,4]}}",
			4, D2V_CORRUPT },                                                                   // overlap
		{ "{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, D2V_CORRUPT }, // hole
		{ "{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"x\":{\"dtype\":\"F32\",\"shape\":[1],"
		  "\"data_offsets\":[4,8]}}",
			8, D2V_CORRUPT }, // the same name twice
		{ "{\"x\":{\"dtype\":\"Q7\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, D2V_UNSUPPORTED },
		{ "{\"x\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, D2V_UNSUPPORTED },
		{ "{\"x\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, D2V_CORRUPT },
		{ "{\"__metadata__\":{\"a\":1}}", 0, D2V_CORRUPT },
		{ "{\"__metadata__\":{\"a\":\"1\"}}", 0, D2V_OK },
		{ "[]", 0, D2V_CORRUPT },
		{ "{\"x\":3}", 0, D2V_CORRUPT },
		{ "{\"x\":", 0, D2V_CORRUPT },
		{ "", 0, D2V_CORRUPT },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		d2v_error err = { 0 };
		d2v_status status = parse_header(cases[i].header, cases[i].data, &err);
		if (status != cases[i].status)
			print_error("case %zu: %s gave %s: %s\n", i, cases[i].header, d2v_status_name(status), err.text);
		assert_int_equal(status, cases[i].status);
		if (status != D2V_OK)
			assert_non_null(strstr(err.text, "hostile"));
	}
}

static void a_huge_header_length_is_refused(void **state) {
	(void)state;
	unsigned char bytes[16];
	memset(bytes, 0xff, sizeof bytes);
	d2v_safetensors *file;
	assert_int_equal(d2v_safetensors_parse(&file, bytes, sizeof bytes, "x", NULL), D2V_CORRUPT);
	assert_int_equal(d2v_safetensors_parse(&file, bytes, 3, "x", NULL), D2V_CORRUPT);
	assert_null(file);
}

static void odd_files_are_refused(void **state) {
	(void)state;
	d2v_safetensors *file;
	assert_int_equal(d2v_safetensors_open(&file, folder, NULL), D2V_INVALID);
	assert_int_equal(d2v_safetensors_open(&file, path, NULL), D2V_NOT_FOUND);
	assert_int_equal(d2v_file_replace(path, "", 0, NULL), D2V_OK);
	assert_int_equal(d2v_safetensors_open(&file, path, NULL), D2V_CORRUPT);
}

// Every write, fsync and allocation may fail: the old file stays, nothing leaks. Only when the last fsync, that of the folder
// after the rename, fails is the new file there, and whole.
static void failing_to_save_leaves_a_whole_file(void **state) {
	(void)state;
	void *before, *after;
	size_t before_size, after_size;
	const d2v_safetensors_tensor one = { .name = "x", .dtype = D2V_F32, .rank = 1, .shape = { 1 }, .data = weights };
	assert_int_equal(d2v_safetensors_save(path, &one, 1, NULL, NULL), D2V_OK);
	assert_int_equal(d2v_file_read(path, 4096, &before, &before_size, NULL), D2V_OK);
	for (int memory = 0; memory < 2; memory++) {
		d2v_status status = D2V_NO_SPACE;
		for (long n = 0; status != D2V_OK; n++) {
			long live = d2v_memory_live();
			assert_true(n < 1000);
			memory ? d2v_memory_fail_after(n) : d2v_file_fail_after(n);
			status = d2v_safetensors_save(path, tensors, 4, metadata, NULL);
			d2v_memory_fail_after(-1);
			d2v_file_fail_after(-1);
			assert_int_equal(d2v_memory_live(), live);
			if (status == D2V_OK)
				break;
			assert_int_equal(status, memory ? D2V_NO_MEMORY : D2V_NO_SPACE);
			assert_int_equal(d2v_file_read(path, 4096, &after, &after_size, NULL), D2V_OK);
			if (after_size != before_size || memcmp(after, before, before_size) != 0) {
				assert_int_equal(status, D2V_NO_SPACE);
				check_file_holds_tensors();
			}
			d2v_free(after);
		}
		assert_int_equal(d2v_safetensors_save(path, &one, 1, NULL, NULL), D2V_OK);
	}
	d2v_free(before);
}

static void tensors_are_aligned_for_their_type(void **state) {
	(void)state;
	const d2v_safetensors_tensor odd[] = {
		{ .name = "byte", .dtype = D2V_U8, .rank = 1, .shape = { 1 }, .data = "x" },
		{ .name = "ids", .dtype = D2V_I64, .rank = 1, .shape = { 2 }, .data = ids },
	};
	d2v_safetensors *file;
	assert_int_equal(d2v_safetensors_save(path, odd, 2, NULL, NULL), D2V_OK);
	assert_int_equal(d2v_safetensors_open(&file, path, NULL), D2V_OK);
	const d2v_tensor_info *tensor = d2v_safetensors_find(file, "ids");
	assert_int_equal((uintptr_t)tensor->data % 8, 0);
	assert_memory_equal(tensor->data, ids, sizeof ids);
	d2v_safetensors_close(file);
}

static void failing_to_read_leaks_nothing(void **state) {
	(void)state;
	d2v_safetensors *file;
	assert_int_equal(d2v_safetensors_save(path, tensors, 4, metadata, NULL), D2V_OK);
	d2v_status status = D2V_NO_MEMORY;
	for (long n = 0; status != D2V_OK; n++) {
		long live = d2v_memory_live();
		assert_true(n < 1000);
		d2v_memory_fail_after(n);
		status = d2v_safetensors_open(&file, path, NULL);
		d2v_memory_fail_after(-1);
		if (status != D2V_OK) {
			assert_int_equal(status, D2V_NO_MEMORY);
			assert_int_equal(d2v_memory_live(), live);
		}
	}
	d2v_safetensors_close(file);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_written_is_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(bytes_are_the_formats, set_up, tear_down),
		cmocka_unit_test_setup_teardown(hostile_headers_are_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_huge_header_length_is_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(odd_files_are_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(failing_to_save_leaves_a_whole_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(tensors_are_aligned_for_their_type, set_up, tear_down),
		cmocka_unit_test_setup_teardown(failing_to_read_leaks_nothing, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
