// Header lines as servers send them: the few facts a download depends on, and no others.
#include "tests/base/scratch.h"

#include "ingest/http_answer.h"

#include <string.h>

static d2v_http_answer answer_of(const char *lines) {
	d2v_http_answer answer;
	d2v_http_answer_init(&answer);
	for (const char *line = lines; *line;) {
		size_t size = strcspn(line, "\n");
		size += line[size] == '\n';
		d2v_http_answer_line(&answer, line, size);
		line += size;
	}
	return answer;
}

static void test_whole(void **state) {
	(void)state;
	d2v_http_answer a = answer_of("HTTP/1.1 200 OK\r\ncontent-length: 123456789012  \r\nETag: \"abc\"\r\n"
								  "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n\r\n");
	assert_int_equal(a.code, 200);
	assert_int_equal(a.length, 123456789012);
	assert_string_equal(a.tag, "\"abc\"");
	assert_int_equal(a.range_start, UINT64_MAX);
	assert_int_equal(answer_of("HTTP/2 403\r\n").code, 403);
	assert_int_equal(answer_of("HTTP/2\r\n").code, 0);
}

static void test_range(void **state) {
	(void)state;
	d2v_http_answer a = answer_of("HTTP/1.1 206 Partial\r\nContent-Range: bytes 100-199/1000\r\n");
	assert_int_equal(a.range_start, 100);
	assert_int_equal(a.range_total, 1000);
	a = answer_of("HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-9/*\r\n");
	assert_int_equal(a.range_start, 0);
	assert_int_equal(a.range_total, 0);
	static const char *const none[] = { "Content-Range: bytes */1000", "Content-Range: items 1-2/3",
		"Content-Range:", "Content-Range: bytes -5/10", "X-Content-Range: bytes 1-2/3" };
	for (size_t i = 0; i < sizeof none / sizeof *none; i++)
		assert_int_equal(answer_of(none[i]).range_start, UINT64_MAX);
}

// A redirect's own length and tag are not those of where it leads.
static void test_redirect(void **state) {
	(void)state;
	d2v_http_answer a = answer_of("HTTP/1.1 302 Found\r\nContent-Length: 138\r\nETag: \"redirect\"\r\n\r\n"
								  "HTTP/1.1 200 OK\r\n\r\n");
	assert_int_equal(a.code, 200);
	assert_int_equal(a.length, 0);
	assert_string_equal(a.tag, "");
}

static void test_tags(void **state) {
	(void)state;
	// A weak tag says "as good as the same", which is not enough to put two halves together.
	assert_string_equal(answer_of("ETag: W/\"abc\"\r\n").tag, "");
	assert_string_equal(answer_of("ETag: W/\"abc\"\r\nLast-Modified: yesterday\r\n").tag, "yesterday");
	assert_string_equal(answer_of("Last-Modified: yesterday\r\nETag: \"x\"\r\n").tag, "\"x\"");
	assert_string_equal(answer_of("ETag: \"x\"\r\nLast-Modified: yesterday\r\n").tag, "\"x\"");
}

static void test_nonsense(void **state) {
	(void)state;
	char line[4000];
	d2v_http_answer a = answer_of("Content-Length: many\r\n");
	assert_int_equal(a.length, 0);
	assert_int_equal(answer_of("Content-Length: -5\r\n").length, 0);
	assert_int_equal(answer_of("Content-Length 5\r\n").length, 0);
	memset(line, 'x', sizeof line);
	memcpy(line, "ETag: \"", 7);
	d2v_http_answer_init(&a);
	d2v_http_answer_line(&a, line, sizeof line);
	assert_string_equal(a.tag, "");
	d2v_http_answer_line(&a, "", 0);
	d2v_http_answer_line(&a, "\r\n", 2);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_range),
		cmocka_unit_test(test_redirect),
		cmocka_unit_test(test_tags),
		cmocka_unit_test(test_nonsense),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
