// JSON lines: what is found in them, however the bytes come, and what is of no use.
#include "base/memory.h"
#include "ingest/jsonl.h"
#include "tests/base/scratch.h"
#include "tests/ingest/given_bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static d2v_error err;

// Every event as text: strings as they are, "|" behind each, "!LINE;" for those of no use.
static void read_all(const char *input, size_t size, size_t block, char *out, size_t room) {
	given_bytes given = { .bytes = input, .size = size, .block = block };
	d2v_bytes bytes = given_bytes_open(&given);
	d2v_jsonl *jsonl;
	d2v_jsonl_event event;
	size_t used = 0, start = 0;
	assert_ok(d2v_jsonl_new(&jsonl, &bytes, "text", &err));
	do {
		assert_ok(d2v_jsonl_next(jsonl, &event, &err));
		assert_true(used + event.size + 32 < room);
		if (event.kind == D2V_JSONL_TEXT) {
			memcpy(out + used, event.text, event.size);
			used += event.size;
		} else if (event.kind == D2V_JSONL_END)
			out[used++] = '|', start = used;
		else if (event.kind == D2V_JSONL_BAD) {
			assert_int_equal(event.rejection.reason, D2V_REASON_BAD_TEXT);
			assert_true(event.rejection.text[0]);
			used = start + (size_t)sprintf(out + start, "!%u;", (unsigned)event.line);
			start = used;
		}
	} while (event.kind != D2V_JSONL_DONE);
	out[used] = '\0';
	d2v_jsonl_free(jsonl);
}

static void check(const char *input, const char *wanted) {
	char out[4096];
	for (size_t block = 0; block < 9; block++) {
		read_all(input, strlen(input), block, out, sizeof out);
		if (strcmp(out, wanted) != 0)
			fail_msg("%s\nin blocks of %zu gives\n%s\ninstead of\n%s", input, block, out, wanted);
	}
}

static void test_whole_lines(void **state) {
	(void)state;
	check("{\"text\": \"one\"}\n{\"text\":\"two\"}", "one|two|");
	check("\xEF\xBB\xBF{\"text\": \"after a byte order mark\"}\n", "after a byte order mark|");
	check("\n  \r\n{\"text\": \"\"}\r\n\n", "|");
	check("", "");
	check("{\"id\": 7, \"text\": \"x\", \"meta\": {\"text\": \"inner\", \"a\": [1, -2.5e3, true, null, {}, []]}}\n",
		"x|");
	check("{\"te\\u0078t\": \"the key is escaped\"}\n", "the key is escaped|");
	check("{\"texts\": \"no\", \"tex\": \"no\", \"text\": \"yes\"}\n", "yes|");
	check(" { \"a\" : [ [ ] , { \"b\" : \"}]\\\"\" } ] , \"text\" : \"x\" } \n", "x|");
}

static void test_escapes(void **state) {
	(void)state;
	check("{\"text\": \"a\\n\\t\\\\\\\"\\/\\b\\f\\rz\"}\n", "a\n\t\\\"/\b\f\rz|");
	check("{\"text\": \"\\u00e9\\u20AC\\ud83d\\ude00\"}\n", "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80|");
	// Halves of pairs.
	check("{\"text\": \"\\ud83d\"}\n", "\xEF\xBF\xBD|");
	check("{\"text\": \"\\ude00x\"}\n", "\xEF\xBF\xBDx|");
	check("{\"text\": \"\\ud83dx\"}\n", "\xEF\xBF\xBDx|");
	check("{\"text\": \"\\ud83d\\n\"}\n", "\xEF\xBF\xBD\n|");
	check("{\"text\": \"\\ud83d\\u0041\"}\n", "\xEF\xBF\xBD"
											  "A|");
	check("{\"text\": \"\xC3\xA9 \xFF\x80 as they are\"}\n", "\xC3\xA9 \xFF\x80 as they are|");
}

static void test_lines_of_no_use(void **state) {
	(void)state;
	static const char *const bad[] = { "{", "}", "[]", "\"text\"", "{\"text\"}", "{\"text\": }", "{\"text\": \"x\"",
		"{\"text\": \"x", "{\"text\": \"x\\", "{\"text\": \"x\"} y", "{\"text\": \"x\"}{}", "{\"text\": 3}",
		"{\"text\": null}", "{\"text\": [\"x\"]}", "{\"other\": \"x\"}", "{}", "{\"text\": \"x\", \"text\": \"y\"}",
		"{\"text\": \"x\" \"b\": 1}", "{\"text\": \"x\",}", "{,\"text\": \"x\"}", "{\"a\": tru, \"text\": \"x\"}",
		"{\"a\": 1x, \"text\": \"x\"}", "{\"a\": [1, \"text\": \"x\"}", "{\"a\": [1}, \"text\": \"x\"}",
		"{\"text\": \"\\x\"}", "{\"text\": \"\\u12g4\"}", "{\"text\": \"a\tb\"}", "{text: \"x\"}",
		"{\"a\" \"text\": 1}", "{\"text\": \"x\", \"b\": \"\\q\"}", "nonsense", "{\"a\": {\"b\" 1}, \"text\": \"x\"}",
		"{'text': 'x'}" };
	char input[512];
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		snprintf(input, sizeof input, "{\"text\": \"before\"}\n%s\n{\"text\": \"after\"}\n", bad[i]);
		check(input, "before|!2;after|");
		snprintf(input, sizeof input, "%s", bad[i]);
		check(input, "!1;");
	}
}

static void test_deep(void **state) {
	(void)state;
	char input[512], *at = input;
	for (int deep = 59; deep <= 61; deep++) {
		at = input + sprintf(input, "{\"a\": ");
		memset(at, '[', (size_t)deep), at += deep;
		memset(at, ']', (size_t)deep), at += deep;
		strcpy(at, ", \"text\": \"x\"}\n");
		check(input, deep <= 60 ? "x|" : "!1;");
	}
	at = input + sprintf(input, "{\"a\": ");
	memset(at, '[', 200);
	strcpy(at + 200, "]\n{\"text\": \"x\"}");
	check(input, "!1;x|");
}

static void test_a_line_of_any_length(void **state) {
	(void)state;
	size_t size = 3 << 20, used = 0;
	char *input = malloc(size + 64), *out = malloc(size + 64);
	used = (size_t)sprintf(input, "{\"k\": \"");
	memset(input + used, 'k', 1 << 20), used += 1 << 20;
	used += (size_t)sprintf(input + used, "\", \"text\": \"");
	size_t text = 1 << 20;
	memset(input + used, 't', text), used += text;
	used += (size_t)sprintf(input + used, "\"}\n");
	read_all(input, used, 60000, out, size);
	assert_int_equal(strlen(out), text + 1);
	assert_int_equal(strspn(out, "t"), text);
	free(input);
	free(out);
}

static void test_failures(void **state) {
	(void)state;
	static const char input[] = "{\"text\": \"one\"}\n{\"text\": \"two\"}\n";
	for (size_t at = 1; at < sizeof input; at++) {
		given_bytes given = { .bytes = input, .size = sizeof input - 1, .block = 1, .fail_at = at };
		d2v_bytes bytes = given_bytes_open(&given);
		d2v_jsonl *jsonl;
		d2v_jsonl_event event;
		d2v_status status;
		assert_ok(d2v_jsonl_new(&jsonl, &bytes, "text", &err));
		while ((status = d2v_jsonl_next(jsonl, &event, &err)) == D2V_OK)
			assert_int_not_equal(event.kind, D2V_JSONL_DONE);
		assert_int_equal(status, D2V_CORRUPT);
		assert_int_equal(d2v_jsonl_next(jsonl, &event, &err), D2V_CORRUPT);
		d2v_jsonl_free(jsonl);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_lines),
		cmocka_unit_test(test_escapes),
		cmocka_unit_test(test_lines_of_no_use),
		cmocka_unit_test(test_deep),
		cmocka_unit_test(test_a_line_of_any_length),
		cmocka_unit_test(test_failures),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
