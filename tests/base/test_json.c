#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"

#include "tests/base/scratch.h"

#include <string.h>

static json_t *parsed(const char *text) {
	d2v_error err;
	json_t *root;
	assert_ok(d2v_json_parse(text, strlen(text), "test", &root, &err));
	return root;
}

static void test_bad_json_is_refused(void **state) {
	(void)state;
	static const char *const cases[] = { "", "{", "{\"a\": 1, \"a\": 2}", "[1,]", "{\"a\": 1} x", "\"\xff\"",
		"\"\\u0000\"", "NaN", "[1e999]", "[99999999999999999999]" };
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		d2v_error err;
		json_t *root;
		if (d2v_json_parse(cases[i], strlen(cases[i]), "file.json", &root, &err) != D2V_INVALID)
			fail_msg("'%s' was not refused", cases[i]);
		assert_null(root);
		assert_int_equal(strncmp(err.text, "file.json: line ", 16), 0);
	}
	// Brackets without end: refused by depth, not by the stack.
	static char bomb[1 << 20];
	memset(bomb, '[', sizeof bomb);
	json_t *root;
	assert_int_equal(d2v_json_parse(bomb, sizeof bomb, "bomb", &root, NULL), D2V_INVALID);
}

static void test_text_is_the_same_for_equal_trees(void **state) {
	(void)state;
	d2v_error err;
	json_t *a = parsed("{\"b\": [1, 2.5], \"a\": {\"y\": null, \"x\": 0.1}}");
	json_t *b = parsed("{\"a\": {\"x\": 0.1, \"y\": null}, \"b\": [1, 2.5]}");
	char *text_a, *text_b;
	assert_ok(d2v_json_text(a, &text_a, &err));
	assert_ok(d2v_json_text(b, &text_b, &err));
	assert_string_equal(text_a, text_b);
	assert_int_equal(text_a[strlen(text_a) - 1], '\n');
	json_t *again = parsed(text_a);
	assert_true(json_equal(a, again));
	json_decref(a);
	json_decref(b);
	json_decref(again);
	d2v_free(text_a);
	d2v_free(text_b);
}

static void test_save_and_load(void **state) {
	d2v_error err;
	json_t *tree = parsed("{\"name\": \"x\", \"values\": [0.1, 1e-300, 12345678901234567]}"), *loaded;
	const char *path = scratch_path(state, "a.json");
	assert_ok(d2v_json_save(tree, path, &err));
	assert_ok(d2v_json_load(path, 1000, &loaded, &err));
	assert_true(json_equal(tree, loaded));
	json_decref(loaded);
	assert_int_equal(d2v_json_load(path, 10, &loaded, &err), D2V_INVALID);
	assert_int_equal(d2v_json_load(scratch_path(state, "none"), 10, &loaded, &err), D2V_NOT_FOUND);
	assert_null(loaded);
	json_decref(tree);
}

static void test_getters(void **state) {
	(void)state;
	d2v_error err;
	json_t *tree = parsed("{\"i\": -5, \"u\": 7, \"r\": 1.5, \"s\": \"t\", \"o\": {}, \"a\": [], \"n\": null}"), *inner;
	int64_t i;
	uint64_t u;
	double r;
	const char *s;
	assert_ok(d2v_json_get_i64(tree, "i", "f", -5, 0, &i, &err));
	assert_int_equal(i, -5);
	assert_ok(d2v_json_get_u64(tree, "u", "f", UINT64_MAX, &u, &err));
	assert_int_equal(u, 7);
	assert_ok(d2v_json_get_double(tree, "r", "f", &r, &err));
	assert_true(r == 1.5);
	assert_ok(d2v_json_get_double(tree, "u", "f", &r, &err));
	assert_true(r == 7);
	assert_ok(d2v_json_get_string(tree, "s", "f", &s, &err));
	assert_string_equal(s, "t");
	assert_ok(d2v_json_get_object(tree, "o", "f", &inner, &err));
	assert_ok(d2v_json_get_array(tree, "a", "f", &inner, &err));

	assert_int_equal(d2v_json_get_i64(tree, "i", "f", -4, 4, &i, &err), D2V_INVALID);
	assert_string_equal(err.text, "f: i: expected an integer from -4 to 4, found -5");
	assert_int_equal(d2v_json_get_u64(tree, "i", "f", 9, &u, &err), D2V_INVALID);
	assert_int_equal(d2v_json_get_u64(tree, "r", "f", 9, &u, &err), D2V_INVALID);
	assert_string_equal(err.text, "f: r: expected an integer, found a number");
	assert_int_equal(d2v_json_get_double(tree, "s", "f", &r, &err), D2V_INVALID);
	assert_string_equal(err.text, "f: s: expected a number, found a text");
	assert_int_equal(d2v_json_get_string(tree, "gone", "f", &s, &err), D2V_INVALID);
	assert_string_equal(err.text, "f: gone: expected a text, found nothing");
	assert_int_equal(d2v_json_get_object(tree, "a", "f", &inner, &err), D2V_INVALID);
	assert_int_equal(d2v_json_get_array(tree, "n", "f", &inner, &err), D2V_INVALID);
	assert_string_equal(err.text, "f: n: expected a list, found null");
	assert_int_equal(d2v_json_get_string(json_object_get(tree, "a"), "s", "f", &s, &err), D2V_INVALID);
	assert_int_equal(d2v_json_get_string(NULL, "s", "f", &s, &err), D2V_INVALID);
	json_decref(tree);
}

static void test_hex64(void **state) {
	(void)state;
	d2v_error err;
	uint64_t value;
	json_t *tree = parsed("{\"short\": \"12\", \"long\": \"00112233445566778\", \"upper\": \"00112233445566AA\"}");
	assert_ok(d2v_json_set_hex64(tree, "v", UINT64_C(0xfedcba9876543210), &err));
	assert_ok(d2v_json_get_hex64(tree, "v", "f", &value, &err));
	assert_true(value == UINT64_C(0xfedcba9876543210));
	assert_int_equal(d2v_json_get_hex64(tree, "short", "f", &value, &err), D2V_INVALID);
	assert_int_equal(d2v_json_get_hex64(tree, "long", "f", &value, &err), D2V_INVALID);
	assert_int_equal(d2v_json_get_hex64(tree, "upper", "f", &value, &err), D2V_INVALID);
	assert_int_equal(d2v_json_set(tree, "w", NULL, &err), D2V_NO_MEMORY);
	json_decref(tree);
}

static void test_memory_walk(void **state) {
	d2v_error err;
	const char *path = scratch_path(state, "a.json");
	static const char text[] = "{\"a\": [1, 2.5, \"x\"], \"b\": {\"c\": null, \"d\": \"long enough to be copied\"}}";
	long before = d2v_memory_live();
	for (long n = 0;; n++) {
		json_t *root = NULL, *loaded = NULL;
		d2v_memory_fail_after(n);
		d2v_status status = d2v_json_parse(text, sizeof text - 1, "f", &root, &err);
		if (status == D2V_OK)
			status = d2v_json_set_hex64(root, "h", 1, &err);
		if (status == D2V_OK)
			status = d2v_json_save(root, path, &err);
		if (status == D2V_OK)
			status = d2v_json_load(path, 1000, &loaded, &err);
		d2v_memory_fail_after(-1);
		json_decref(root);
		json_decref(loaded);
		assert_int_equal(d2v_memory_live(), before);
		assert_true(n < 1000);
		if (status == D2V_OK)
			break;
		// jansson reports some lacks of memory as other errors; none may pass for success or leak.
		assert_true(status == D2V_NO_MEMORY || status == D2V_INVALID);
	}
}

#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_set_up, scratch_tear_down)

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_json_is_refused),
		cmocka_unit_test(test_text_is_the_same_for_equal_trees),
		IN_SCRATCH(test_save_and_load),
		cmocka_unit_test(test_getters),
		cmocka_unit_test(test_hex64),
		IN_SCRATCH(test_memory_walk),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
