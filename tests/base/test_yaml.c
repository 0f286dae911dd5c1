#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"

#include "tests/base/scratch.h"

#include <stdio.h>
#include <string.h>

static void check_same(const char *yaml, const json_t *found, const char *expected_json) {
	d2v_error err;
	json_t *expected;
	assert_ok(d2v_json_parse(expected_json, strlen(expected_json), "expected", &expected, &err));
	if (!json_equal(found, expected)) {
		char *text;
		assert_ok(d2v_json_text(found, &text, &err));
		fail_msg("'%s' gives %s instead of %s", yaml, text, expected_json);
	}
	json_decref(expected);
}

static void test_values(void **state) {
	(void)state;
	// Types of YAML 1.2's core schema. json_equal tells 1 from 1.0.
	static const char *const cases[][2] = {
		{ "1", "1" },
		{ "-12", "-12" },
		{ "+3", "3" },
		{ "0x1F", "31" },
		{ "0o17", "15" },
		{ "017", "17" },
		{ "1e-6", "0.000001" },
		{ "0.98", "0.98" },
		{ "1.", "1.0" },
		{ ".5", "0.5" },
		{ "-1E+3", "-1000.0" },
		{ "1_000", "\"1_000\"" },
		{ "true", "true" },
		{ "False", "false" },
		{ "TRUE", "true" },
		{ "on", "\"on\"" },
		{ "yes", "\"yes\"" },
		{ "No", "\"No\"" },
		{ "null", "null" },
		{ "~", "null" },
		{ "", "null" },
		{ "nULL", "\"nULL\"" },
		{ "'1'", "\"1\"" },
		{ "\"true\"", "\"true\"" },
		{ "!!str 12", "\"12\"" },
		{ "12:30", "\"12:30\"" },
		{ "2024-01-01", "\"2024-01-01\"" },
		{ "1.2.3", "\"1.2.3\"" },
		{ "e5", "\"e5\"" },
		{ ".", "\".\"" },
		{ "0x", "\"0x\"" },
		{ "0o8", "\"0o8\"" },
		{ "1e", "\"1e\"" },
		{ "[0.9,0.98]", "[0.9, 0.98]" },
		{ "{a: 1, b: [x, y]}", "{\"a\": 1, \"b\": [\"x\", \"y\"]}" },
		{ "[]", "[]" },
		{ "{}", "{}" },
		{ "/data/a #b", "\"/data/a #b\"" },
		{ "  spaced out  ", "\"spaced out\"" },
		{ "#nothing", "\"#nothing\"" },
		{ "-9223372036854775808", "-9223372036854775808" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		d2v_error err = { 0 };
		json_t *value;
		if (d2v_yaml_parse_value(cases[i][0], &value, &err) != D2V_OK)
			fail_msg("'%s': %s", cases[i][0], err.text);
		check_same(cases[i][0], value, cases[i][1]);
		json_decref(value);
	}
}

static void test_bad_values(void **state) {
	(void)state;
	static const char *const cases[] = { "a: b", "- a", "[1", "{a", "*x", "&x 1", "!!float 1", ".inf", "-.INF", ".nan",
		"1e999", "99999999999999999999", "0x8000000000000000", "'open", "\"\\0\"", "[1, *a]", "\xff", "{a: 1, a: 2}",
		"{<<: {a: 1}}" };
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		d2v_error err;
		json_t *value;
		if (d2v_yaml_parse_value(cases[i], &value, &err) != D2V_INVALID)
			fail_msg("'%s' was not refused", cases[i]);
		assert_null(value);
	}
}

static void test_a_recipe(void **state) {
	(void)state;
	static const char text[] = "# @package _group_\n"
							   "common:\n  fp16: true\n  log_format: json\n"
							   "optimization:\n  lr: [ 0.0004 ]\n  clip_norm: 4\n"
							   "optimizer:\n  groups:\n    default:\n      lr_float: 4e-4\n      betas: [0.9,0.98]\n"
							   "  empty:\n  list:\n    - a\n    - b: 1\n";
	d2v_error err;
	json_t *root;
	assert_ok(d2v_yaml_parse(text, sizeof text - 1, "base.yaml", &root, &err));
	check_same(text, root,
		"{\"common\": {\"fp16\": true, \"log_format\": \"json\"}, \"optimization\": {\"lr\": [0.0004], \"clip_norm\": "
		"4},"
		" \"optimizer\": {\"groups\": {\"default\": {\"lr_float\": 0.0004, \"betas\": [0.9, 0.98]}}, \"empty\": null,"
		" \"list\": [\"a\", {\"b\": 1}]}}");
	json_decref(root);
}

static void check_refused(const char *text, size_t size, const char *part_of_message) {
	d2v_error err;
	json_t *root;
	if (d2v_yaml_parse(text, size, "f.yaml", &root, &err) != D2V_INVALID)
		fail_msg("'%.60s' was not refused", text);
	assert_null(root);
	assert_int_equal(strncmp(err.text, "f.yaml: ", 8), 0);
	if (!strstr(err.text, part_of_message))
		fail_msg("'%.60s' is refused with '%s' and not with '%s'", text, err.text, part_of_message);
}

static void test_refused_files(void **state) {
	(void)state;
	static const char *const cases[][2] = {
		{ "a: &x 1\nb: *x\n", "anchors" },
		{ "a: [*x]\n", "aliases" },
		{ "a: &x [1]\n", "anchors" },
		{ "<<: {a: 1}\n", "merge" },
		{ "a: 1\nb: 2\na: 3\n", "line 3, column 1: the key 'a' is there twice" },
		{ "a: 1\n---\nb: 2\n", "one document" },
		{ "? [1, 2]\n: 3\n", "key" },
		{ "a: b: c\n", "not YAML" },
		{ "a:\n\t- b\n", "not YAML" },
		{ "a: !include x\n", "tags" },
		{ "&k a: 1\n", "anchors" },
		{ "a: 1e999\n", "line 1, column 4: the number is too large" },
		{ "%YAML 3.0\n--- a\n", "not YAML" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		check_refused(cases[i][0], strlen(cases[i][0]), cases[i][1]);
	check_refused("a: \xc3\x28\n", 6, "not YAML");
	check_refused("a: b\0c\n", 7, "not YAML");
}

static void test_bombs(void **state) {
	(void)state;
	static char text[200000];
	memset(text, '[', sizeof text);
	check_refused(text, sizeof text, "nested too deeply");
	for (size_t i = 0; i + 3 <= sizeof text; i += 3)
		memcpy(text + i, "{a:", 3);
	check_refused(text, sizeof text, "");
	for (size_t i = 0; i + 2 <= sizeof text; i += 2)
		memcpy(text + i, "- ", 2);
	check_refused(text, sizeof text, "nested too deeply");
	char *big;
	size_t size = (size_t)5 << 20;
	d2v_error err;
	assert_ok(d2v_alloc(&big, size, 1, &err));
	memset(big, 'a', size);
	check_refused(big, size, "larger than");
	d2v_free(big);
}

static void test_empty_and_load(void **state) {
	d2v_error err;
	json_t *root;
	assert_ok(d2v_yaml_parse("", 0, "f", &root, &err));
	assert_true(json_is_null(root));
	assert_ok(d2v_yaml_parse("# only this\n", 12, "f", &root, &err));
	assert_true(json_is_null(root));
	const char *path = scratch_path(state, "a.yaml");
	assert_ok(d2v_file_replace(path, "a: 1\n", 5, &err));
	assert_ok(d2v_yaml_load(path, &root, &err));
	check_same("file", root, "{\"a\": 1}");
	json_decref(root);
	static const char marked[] = "\xef\xbb\xbf" "a: 1\r\nb: 2\r\n"; // as editors on Windows write it
	assert_ok(d2v_yaml_parse(marked, sizeof marked - 1, "f", &root, &err));
	check_same("file", root, "{\"a\": 1, \"b\": 2}");
	json_decref(root);
	assert_int_equal(d2v_yaml_load(scratch_path(state, "none"), &root, &err), D2V_NOT_FOUND);
}

static void test_text_reads_back(void **state) {
	(void)state;
	static const char *const cases[] = { "{\"a\": {\"b\": [0.9, 0.98], \"c\": [], \"d\": {}, \"e\": null}, \"f\": "
										 "[{\"g\": 1, \"h\": [1, 2]}, [3, [4]]]}",
		"{\"true\": \"true\", \"1\": \"1\", \"\": \"\", \"no\": \"yes\", \"~\": \"~\", \"<\": \"- x\", \"n\": "
		"\"1e-6\", \"t\": \" a\"}",
		"{\"text\": \"line\\nand\\ttab \\\"quoted\\\" \\\\ # : é \\u0001 %\", \"key with: colon\": \"x: y\", \"-\": "
		"\"---\"}",
		"{\"r\": [1.0, 1e-6, 0.1, 1e300, -0.5, 123456789.125, 3.0000000000000004], \"i\": [0, -1, "
		"9223372036854775807]}",
		"[]", "{}", "12", "\"on\"", "[1, \"a\"]", "[[1], [2]]", "null", "1.0" };
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		d2v_error err;
		json_t *tree, *again;
		char *text;
		assert_ok(d2v_json_parse(cases[i], strlen(cases[i]), "case", &tree, &err));
		assert_ok(d2v_yaml_text(tree, &text, &err));
		assert_ok(d2v_yaml_parse(text, strlen(text), text, &again, &err));
		check_same(text, again, cases[i]);
		json_decref(tree);
		json_decref(again);
		d2v_free(text);
	}
	d2v_error err;
	json_t *tree;
	char *text;
	assert_ok(d2v_json_parse("{\"b\":{\"lr\":1e-6,\"on\":true},\"a\":[0.9,0.98]}", 42, "f", &tree, &err));
	assert_ok(d2v_yaml_text(tree, &text, &err));
	assert_string_equal(text, "b:\n  lr: 1e-06\n  \"on\": true\na: [0.9, 0.98]\n");
	json_decref(tree);
	d2v_free(text);
}

static const char *note(void *context, const char *path) {
	return strcmp(path, "b.c.lr") == 0 ? context : strcmp(path, "a") == 0 ? "short" : NULL;
}

static void test_notes(void **state) {
	(void)state;
	static const char json[] = "{\"b\":{\"c\":{\"lr\":1e-6,\"n\":\"# none\"},\"d\":[[1]]},"
							   "\"a\":\"a text so long that it ends behind the column\"}";
	d2v_error err;
	json_t *tree, *again;
	char *text, rate[] = "the rate";
	assert_ok(d2v_json_parse(json, sizeof json - 1, "f", &tree, &err));
	assert_ok(d2v_yaml_text_noted(tree, note, rate, &text, &err));
	assert_string_equal(text, "b:\n  c:\n    lr: 1e-06                           # the rate\n    \"n\": \"# none\"\n"
							  "  d:\n    - [1]\na: \"a text so long that it ends behind the column\"  # short\n");
	assert_ok(d2v_yaml_parse(text, strlen(text), text, &again, &err));
	check_same(text, again, json);
	json_decref(tree);
	json_decref(again);
	d2v_free(text);
}

static void test_memory_walk(void **state) {
	(void)state;
	d2v_error err;
	static const char yaml[] = "a: [1, 2.5, x]\nb:\n  c: ~\n  d: text\n  e:\n    - f: 1\n";
	long before = d2v_memory_live();
	for (long n = 0;; n++) {
		json_t *root = NULL, *value = NULL;
		char *text = NULL;
		d2v_memory_fail_after(n);
		d2v_status status = d2v_yaml_parse(yaml, sizeof yaml - 1, "f", &root, &err);
		if (status == D2V_OK)
			status = d2v_yaml_text(root, &text, &err);
		if (status == D2V_OK)
			status = d2v_yaml_parse_value("{a: [1, b #c]}", &value, &err) == D2V_INVALID ? D2V_OK : err.status;
		if (status == D2V_OK)
			status = d2v_yaml_parse_value(" {a: [1, b]} ", &value, &err);
		d2v_memory_fail_after(-1);
		json_decref(root);
		json_decref(value);
		d2v_free(text);
		assert_int_equal(d2v_memory_live(), before);
		assert_true(n < 1000);
		if (status == D2V_OK)
			break;
		assert_int_equal(status, D2V_NO_MEMORY);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_bad_values),
		cmocka_unit_test(test_a_recipe),
		cmocka_unit_test(test_refused_files),
		cmocka_unit_test(test_bombs),
		cmocka_unit_test_setup_teardown(test_empty_and_load, scratch_set_up, scratch_tear_down),
		cmocka_unit_test(test_text_reads_back),
		cmocka_unit_test(test_notes),
		cmocka_unit_test(test_memory_walk),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
