// Archives in archives: their members in order, in any kind of source; what is wrong with one of them costs that one
// alone, unless it is the source that is damaged.
#include "tests/base/scratch.h"

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "ingest/origin.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>
#include <string.h>

#define BLOCK 512

typedef struct buffer {
	unsigned char bytes[1 << 17];
	size_t size;
} buffer;

// A tar member: content of `size` bytes, padded.
static void add(buffer *tar, const char *name, const void *content, size_t size) {
	struct archive_entry *entry = archive_entry_new();
	struct archive *archive = archive_write_new();
	size_t used = 0;
	archive_entry_set_pathname(entry, name);
	archive_entry_set_size(entry, (la_int64_t)size);
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_perm(entry, 0644);
	archive_write_set_format_ustar(archive);
	archive_write_set_bytes_per_block(archive, BLOCK);
	archive_write_set_bytes_in_last_block(archive, BLOCK);
	archive_write_open_memory(archive, tar->bytes + tar->size, sizeof tar->bytes - tar->size, &used);
	assert_int_equal(archive_write_header(archive, entry), ARCHIVE_OK);
	assert_int_equal(archive_write_data(archive, content, size), size);
	archive_write_close(archive);
	archive_write_free(archive);
	archive_entry_free(entry);
	tar->size += BLOCK + (size + BLOCK - 1) / BLOCK * BLOCK; // without the two blocks of the end
}

static void end(buffer *tar) {
	memset(tar->bytes + tar->size, 0, 2 * BLOCK);
	tar->size += 2 * BLOCK;
}

static char list[4096]; // of the last walk: "path=content" or "path!reason", a line each

static void note(const char *format, ...) {
	va_list args;
	size_t used = strlen(list);
	va_start(args, format);
	vsnprintf(list + used, sizeof list - used, format, args);
	va_end(args);
}

static bool is_tar(const char *path) {
	size_t length = strlen(path);
	return length > 4 && strcmp(path + length - 4, ".tar") == 0;
}

// Enters each tar, reads each file, or passes over it.
static d2v_status walk(const char *where, bool reads, d2v_error *err) {
	d2v_origin *source;
	d2v_member member;
	unsigned char *bytes = NULL;
	size_t capacity = 0, size;
	uint64_t count = 0;
	list[0] = '\0';
	D2V_TRY(d2v_origin_open(&source, where, &(d2v_origin_options){ 0 }, err));
	d2v_status status;
	while ((status = d2v_origin_next(source, &member, err)) == D2V_OK) {
		d2v_rejection rejection = member.rejection;
		assert_int_equal(member.index, count++);
		if (!member.is_file)
			continue;
		if (rejection.reason == D2V_REASON_NONE && is_tar(member.path) && !strchr(member.path, '/'))
			status = d2v_origin_enter(source, err);
		else if (rejection.reason == D2V_REASON_NONE && reads)
			status = d2v_origin_read(source, 1 << 16, &bytes, &capacity, &size, &rejection, err);
		else
			size = 0;
		if (status != D2V_OK)
			break;
		if (rejection.reason != D2V_REASON_NONE)
			note("%s!%s\n", member.path, d2v_reason_name(rejection.reason));
		else if (!is_tar(member.path) || strchr(member.path, '/'))
			note("%s=%.*s\n", member.path, reads ? (int)size : 0, reads ? (char *)bytes : "");
	}
	char checksum[D2V_CHECKSUM_TEXT];
	uint64_t all;
	if (status == D2V_END)
		status = d2v_origin_finish(source, checksum, &all, err);
	d2v_free(bytes);
	d2v_origin_close(source);
	return status;
}

static void save(void **state, const char *name, const buffer *tar) {
	d2v_error err = { 0 };
	assert_ok(d2v_file_replace(scratch_path(state, name), tar->bytes, tar->size, &err));
}

static void make_inner(buffer *inner, const char *first, const char *second) {
	inner->size = 0;
	add(inner, first, "one", 3);
	add(inner, second, "two", 3);
	end(inner);
}

static void test_members_in_order(void **state) {
	static buffer inner, outer;
	d2v_error err = { 0 };
	outer.size = 0;
	add(&outer, "before.jpg", "B", 1);
	make_inner(&inner, "a.jpg", "./x//b.jpg");
	add(&outer, "c1.tar", inner.bytes, inner.size);
	inner.size = 0;
	end(&inner);
	add(&outer, "empty.tar", inner.bytes, inner.size);
	make_inner(&inner, "a.jpg", "inside.tar");
	add(&outer, "c2.tar", inner.bytes, inner.size);
	add(&outer, "after.jpg", "A", 1);
	end(&outer);
	save(state, "outer.tar", &outer);
	static const char wanted[] = "before.jpg=B\nc1.tar/a.jpg=one\nc1.tar/x/b.jpg=two\nc2.tar/a.jpg=one\n"
								 "c2.tar/inside.tar=two\nafter.jpg=A\n";
	assert_ok(walk(scratch_path(state, "outer.tar"), true, &err));
	assert_string_equal(list, wanted);
	assert_ok(walk(scratch_path(state, "outer.tar"), false, &err));
	assert_string_equal(
		list, "before.jpg=\nc1.tar/a.jpg=\nc1.tar/x/b.jpg=\nc2.tar/a.jpg=\nc2.tar/inside.tar=\nafter.jpg=\n");
}

static void test_folder_of_archives(void **state) {
	static buffer inner;
	char folder[SCRATCH_PATH];
	d2v_error err = { 0 };
	snprintf(folder, sizeof folder, "%s", scratch_path(state, "folder"));
	assert_ok(d2v_file_make_directories(folder, &err));
	make_inner(&inner, "a.jpg", "b.jpg");
	save(state, "folder/c1.tar", &inner);
	inner.size = 700; // cut off within the second member
	save(state, "folder/c2.tar", &inner);
	make_inner(&inner, "d.jpg", "e.jpg");
	save(state, "folder/c3.tar", &inner);
	assert_ok(walk(folder, true, &err));
	assert_non_null(strstr(list, "c1.tar/a.jpg=one\nc1.tar/b.jpg=two\n"));
	assert_non_null(strstr(list, "c2.tar!unreadable\n"));
	assert_non_null(strstr(list, "c3.tar/d.jpg=one\nc3.tar/e.jpg=two\n"));
}

// However the one in the middle is damaged, those around it are whole and the walk ends well.
static void test_damaged_inner(void **state) {
	static buffer inner, outer;
	d2v_error err = { 0 };
	for (int how = 0; how < 6; how++) {
		outer.size = 0;
		make_inner(&inner, "a.jpg", "b.jpg");
		add(&outer, "c1.tar", inner.bytes, inner.size);
		switch (how) {
		case 0:
			inner.size = BLOCK + 100; // within the padding of the first member
			break;
		case 1:
			memset(inner.bytes + 2 * BLOCK, 0x5a, BLOCK); // the second header
			break;
		case 2:
			memset(inner.bytes, 0x5a, inner.size); // all of it
			break;
		case 3:
			inner.size = 0;
			break;
		case 4: // the first member says it has a terabyte
			inner.size = 0;
			add(&inner, "a.jpg", "one", 3);
			memcpy(inner.bytes + 124, "\x80\0\0\0\0\0\0\1\0\0\0\0", 12);
			memset(inner.bytes + 148, ' ', 8);
			unsigned sum = 0;
			for (int i = 0; i < BLOCK; i++)
				sum += inner.bytes[i];
			snprintf((char *)inner.bytes + 148, 8, "%06o", sum);
			break;
		default: // names that lead out
			inner.size = 0;
			add(&inner, "../up.jpg", "one", 3);
			add(&inner, "/etc/absolute.jpg", "two", 3);
			end(&inner);
		}
		add(&outer, "c2.tar", inner.bytes, inner.size);
		make_inner(&inner, "d.jpg", "e.jpg");
		add(&outer, "c3.tar", inner.bytes, inner.size);
		end(&outer);
		save(state, "outer.tar", &outer);
		for (int reads = 0; reads < 2; reads++) {
			d2v_status status = walk(scratch_path(state, "outer.tar"), reads, &err);
			if (status != D2V_OK)
				fail_msg("damage %d: %s", how, err.text);
			const char *first = reads ? "c1.tar/a.jpg=one\nc1.tar/b.jpg=two\n" : "c1.tar/a.jpg=\nc1.tar/b.jpg=\n",
					   *last = reads ? "c3.tar/d.jpg=one\nc3.tar/e.jpg=two\n" : "c3.tar/d.jpg=\nc3.tar/e.jpg=\n";
			if (strncmp(list, first, strlen(first)) != 0 || !strstr(list, last))
				fail_msg("damage %d: the others are not whole:\n%s", how, list);
			if (!strstr(list, how == 5 ? "c2.tar/../up.jpg!unsafe-name\n" : "!unreadable\n"))
				fail_msg("damage %d: not said:\n%s", how, list);
		}
	}
}

// The source itself is cut off at every block: an error, never a crash, and nothing is made up.
static void test_cut_source(void **state) {
	static buffer inner, outer;
	buffer *cut = NULL;
	d2v_error err = { 0 };
	outer.size = 0;
	make_inner(&inner, "a.jpg", "b.jpg");
	add(&outer, "c1.tar", inner.bytes, inner.size);
	add(&outer, "c2.tar", inner.bytes, inner.size);
	end(&outer);
	assert_ok(d2v_alloc_zero(&cut, 1, sizeof *cut, &err));
	for (size_t size = 700; size < outer.size - 2 * BLOCK - 600; size += 256) {
		memcpy(cut->bytes, outer.bytes, size);
		cut->size = size;
		save(state, "cut.tar", cut);
		long live = d2v_memory_live();
		d2v_status status = walk(scratch_path(state, "cut.tar"), true, &err);
		assert_int_equal(d2v_memory_live(), live);
		if (status != D2V_CORRUPT && !(status == D2V_OK && size % 512 == 0))
			fail_msg("cut at %zu: %s\n%s", size, d2v_status_name(status), list);
		if (status == D2V_CORRUPT)
			assert_non_null(strstr(err.text, "cut.tar"));
	}
	d2v_free(cut);
}

static void test_every_allocation(void **state) {
	static buffer inner, outer;
	d2v_error err = { 0 };
	outer.size = 0;
	make_inner(&inner, "a.jpg", "b.jpg");
	add(&outer, "c1.tar", inner.bytes, inner.size);
	end(&outer);
	save(state, "outer.tar", &outer);
	char where[SCRATCH_PATH];
	snprintf(where, sizeof where, "%s", scratch_path(state, "outer.tar"));
	long n = 0, live = d2v_memory_live();
	for (;; n++) {
		d2v_memory_fail_after(n);
		d2v_status status = walk(where, true, &err);
		d2v_memory_fail_after(-1);
		assert_int_equal(d2v_memory_live(), live);
		if (status == D2V_OK)
			break;
		assert_int_equal(status, D2V_NO_MEMORY);
	}
	assert_true(n > 5);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_members_in_order, scratch_set_up, scratch_tear_down),
		cmocka_unit_test_setup_teardown(test_folder_of_archives, scratch_set_up, scratch_tear_down),
		cmocka_unit_test_setup_teardown(test_damaged_inner, scratch_set_up, scratch_tear_down),
		cmocka_unit_test_setup_teardown(test_cut_source, scratch_set_up, scratch_tear_down),
		cmocka_unit_test_setup_teardown(test_every_allocation, scratch_set_up, scratch_tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
