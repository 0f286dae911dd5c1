// What a run writes about itself: metrics.jsonl and TensorBoard's event files, and both after a resume.
#include "base/file.h"
#include "base/memory.h"
#include "train/metrics.h"
#include "train/tensorboard.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char folder[256];

static int make_folder(void **state) {
	(void)state;
	const char *base = getenv("TMPDIR");
	snprintf(folder, sizeof folder, "%s/d2v-metrics-XXXXXX", base ? base : "/tmp");
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
	(void)state;
	return d2v_file_remove_tree(folder, NULL) == D2V_OK ? 0 : -1;
}

static const char *in_folder(const char *name) {
	static char path[512];
	snprintf(path, sizeof path, "%s/%s", folder, name);
	return path;
}

static void write_updates(uint64_t done, int first, int last) {
	d2v_metrics *metrics;
	d2v_error err = { 0 };
	assert_int_equal(d2v_metrics_open(&metrics, in_folder("metrics.jsonl"), done, &err), D2V_OK);
	for (int i = first; i <= last; i++) {
		json_t *line =
			json_pack("{s:i, s:o, s:o}", "update", i, "loss", d2v_metrics_real(.5 * i), "lr", d2v_metrics_real(NAN));
		assert_int_equal(d2v_metrics_write(metrics, line, &err), D2V_OK);
		json_decref(line);
	}
	d2v_metrics_close(metrics);
}

static char *contents(const char *path, size_t *size) {
	void *bytes;
	assert_int_equal(d2v_file_read(path, 1 << 20, &bytes, size, NULL), D2V_OK);
	return bytes;
}

static void a_resumed_run_has_no_update_twice(void **state) {
	(void)state;
	size_t size;
	write_updates(0, 1, 5);
	write_updates(3, 4, 6);
	char *text = contents(in_folder("metrics.jsonl"), &size);
	int expected = 1;
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"), expected++) {
		json_t *object = json_loads(line, 0, NULL);
		assert_int_equal(json_integer_value(json_object_get(object, "update")), expected);
		assert_true(json_is_null(json_object_get(object, "lr")));
		json_decref(object);
	}
	assert_int_equal(expected, 7);
	d2v_free(text);
}

static void an_unfinished_line_is_cut_off(void **state) {
	(void)state;
	size_t size, before;
	write_updates(0, 1, 2);
	d2v_free(contents(in_folder("metrics.jsonl"), &before));
	FILE *file = fopen(in_folder("metrics.jsonl"), "a");
	fputs("{\"update\": 2, \"lo", file);
	fclose(file);
	write_updates(9, 1, 0);
	d2v_free(contents(in_folder("metrics.jsonl"), &size));
	assert_int_equal(size, before);
}

static void a_new_run_starts_an_empty_file(void **state) {
	(void)state;
	size_t size;
	write_updates(0, 1, 2);
	write_updates(0, 1, 0);
	d2v_free(contents(in_folder("metrics.jsonl"), &size));
	assert_int_equal(size, 0);
}

// ---- event files

static uint64_t little_endian(const unsigned char *at, int size) {
	uint64_t value = 0;
	for (int i = size - 1; i >= 0; i--)
		value = value << 8 | at[i];
	return value;
}

static uint64_t varint(const unsigned char **at) {
	uint64_t value = 0;
	int shift = 0;
	do
		value |= (uint64_t)(**at & 0x7F) << shift, shift += 7;
	while (*(*at)++ & 0x80);
	return value;
}

typedef struct event {
	uint64_t step;
	char version[32];
	int session; // status of a session log, 0: none
	int scalars;
	char tag[4][32];
	float value[4];
} event;

static void read_value(const unsigned char *at, const unsigned char *end, event *out) {
	while (at < end) {
		uint64_t key = varint(&at);
		if (key == (1 << 3 | 2)) {
			uint64_t length = varint(&at);
			snprintf(out->tag[out->scalars], sizeof out->tag[0], "%.*s", (int)length, (const char *)at);
			at += length;
		} else {
			assert_int_equal(key, 2 << 3 | 5);
			uint32_t bits = (uint32_t)little_endian(at, 4);
			memcpy(&out->value[out->scalars], &bits, 4);
			at += 4;
		}
	}
	out->scalars++;
}

static void read_event(const unsigned char *at, size_t size, event *out) {
	const unsigned char *end = at + size;
	memset(out, 0, sizeof *out);
	while (at < end) {
		uint64_t key = varint(&at), length;
		switch (key) {
		case 1 << 3 | 1:
			at += 8;
			break;
		case 2 << 3 | 0:
			out->step = varint(&at);
			break;
		case 3 << 3 | 2:
			length = varint(&at);
			snprintf(out->version, sizeof out->version, "%.*s", (int)length, (const char *)at);
			at += length;
			break;
		case 5 << 3 | 2:
			for (const unsigned char *stop = (length = varint(&at), at + length); at < stop;) {
				assert_int_equal(varint(&at), 1 << 3 | 2);
				uint64_t inner = varint(&at);
				read_value(at, at + inner, out);
				at += inner;
			}
			break;
		case 7 << 3 | 2:
			assert_int_equal(varint(&at), 2);
			assert_int_equal(varint(&at), 1 << 3 | 0);
			out->session = (int)varint(&at);
			break;
		default:
			fail_msg("field %d", (int)key);
		}
	}
	assert_ptr_equal(at, end);
}

static int read_events(const char *path, event *events, int room) {
	size_t size, at = 0;
	unsigned char *bytes = (unsigned char *)contents(path, &size);
	int count = 0;
	while (at < size) {
		uint64_t length = little_endian(bytes + at, 8);
		assert_true(length < size - at - 15);
		assert_int_equal(little_endian(bytes + at + 8, 4), d2v_tensorboard_masked_crc(bytes + at, 8));
		assert_int_equal(
			little_endian(bytes + at + 12 + length, 4), d2v_tensorboard_masked_crc(bytes + at + 12, length));
		assert_true(count < room);
		read_event(bytes + at + 12, length, &events[count++]);
		at += 16 + length;
	}
	assert_int_equal(at, size);
	d2v_free(bytes);
	return count;
}

static void the_checksum_is_castagnolis(void **state) {
	(void)state;
	unsigned char zeros[32] = { 0 };
	assert_int_equal(d2v_tensorboard_crc32c("123456789", 9), 0xE3069283); // the polynomial's check value
	assert_int_equal(d2v_tensorboard_crc32c(zeros, 32), 0x8A9136AA);      // RFC 3720, B.4
	assert_int_equal(d2v_tensorboard_crc32c("", 0), 0);
}

static void event_files_read_back(void **state) {
	(void)state;
	event events[8];
	for (int run = 0; run < 2; run++) {
		d2v_tensorboard *board;
		d2v_error err = { 0 };
		assert_int_equal(d2v_tensorboard_open(&board, in_folder("a/tb"), run ? 40 : 0, &err), D2V_OK);
		const d2v_tensorboard_scalar scalars[] = { { "train/loss", 1.25 }, { "train/lr", 3e-4 } };
		assert_int_equal(d2v_tensorboard_add(board, run ? 50 : 300, scalars, 2, &err), D2V_OK);
		d2v_tensorboard_close(board);
	}
	for (int run = 0; run < 2; run++) {
		char name[64];
		snprintf(name, sizeof name, "a/tb/events.out.tfevents.%010d.d2v", run);
		assert_int_equal(read_events(in_folder(name), events, 8), 3);
		assert_string_equal(events[0].version, "brain.Event:2");
		assert_int_equal(events[1].session, 1);
		assert_int_equal(events[1].step, run ? 41 : 1);
		assert_int_equal(events[2].step, run ? 50 : 300);
		assert_int_equal(events[2].scalars, 2);
		assert_string_equal(events[2].tag[0], "train/loss");
		assert_true(events[2].value[0] == 1.25f);
		assert_string_equal(events[2].tag[1], "train/lr");
		assert_true(events[2].value[1] == 3e-4f);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_resumed_run_has_no_update_twice, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(an_unfinished_line_is_cut_off, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(a_new_run_starts_an_empty_file, make_folder, remove_folder),
		cmocka_unit_test(the_checksum_is_castagnolis),
		cmocka_unit_test_setup_teardown(event_files_read_back, make_folder, remove_folder),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
