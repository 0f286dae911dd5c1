#include "base/hash.h"
#include "base/memory.h"

#include "tests/base/scratch.h"

#include <string.h>

static void test_xxh3_known_answers(void **state) {
	(void)state;
	assert_true(d2v_hash64("", 0) == UINT64_C(0x2d06800538d394c2));
	assert_true(d2v_hash64("abc", 3) == UINT64_C(0x78af5f94892f3950));
	assert_true(d2v_hash64_seeded("abc", 3, 0) == d2v_hash64("abc", 3));
	assert_true(d2v_hash64_seeded("abc", 3, 1) != d2v_hash64("abc", 3));
}

static void test_pieces_equal_the_whole(void **state) {
	(void)state;
	d2v_error err;
	unsigned char bytes[5000];
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (unsigned char)(i * 7 + i / 256);
	for (size_t step = 1; step < 3000; step = step * 3 + 1) {
		d2v_hasher *hasher;
		assert_ok(d2v_hasher_new(&hasher, &err));
		for (size_t i = 0; i < sizeof bytes; i += step)
			d2v_hasher_add(hasher, bytes + i, sizeof bytes - i < step ? sizeof bytes - i : step);
		assert_true(d2v_hasher_value(hasher) == d2v_hash64(bytes, sizeof bytes));
		d2v_hasher_free(hasher);
	}
}

static void test_chain_minds_the_order(void **state) {
	(void)state;
	uint64_t ab = d2v_hash64_chain(d2v_hash64_chain(0, 1), 2), ba = d2v_hash64_chain(d2v_hash64_chain(0, 2), 1);
	assert_true(ab != ba);
	unsigned char pair[16] = { 0 };
	pair[8] = 1;
	assert_true(d2v_hash64_chain(0, 1) == d2v_hash64(pair, 16));
}

static void check_sum(d2v_checksum_kind kind, const char *text, const char *expected) {
	d2v_error err;
	d2v_checksum *sum;
	char hex[D2V_HASH_HEX];
	assert_ok(d2v_checksum_new(&sum, kind, &err));
	for (const char *c = text; *c; c++)
		assert_ok(d2v_checksum_add(sum, c, 1, &err));
	assert_ok(d2v_checksum_hex(sum, hex, &err));
	assert_string_equal(hex, expected);
	d2v_checksum_free(sum);
}

static void test_md5_and_sha256_known_answers(void **state) {
	(void)state;
	check_sum(D2V_MD5, "", "d41d8cd98f00b204e9800998ecf8427e");
	check_sum(D2V_MD5, "abc", "900150983cd24fb0d6963f7d28e17f72");
	check_sum(D2V_SHA256, "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	check_sum(D2V_SHA256, "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void test_hex(void **state) {
	(void)state;
	char hex[17];
	d2v_hash64_hex(UINT64_C(0x0123456789abcdef), hex);
	assert_string_equal(hex, "0123456789abcdef");
}

static void test_no_memory(void **state) {
	(void)state;
	d2v_hasher *hasher;
	d2v_checksum *sum;
	long before = d2v_memory_live();
	d2v_memory_fail_after(0);
	assert_int_equal(d2v_hasher_new(&hasher, NULL), D2V_NO_MEMORY);
	assert_int_equal(d2v_checksum_new(&sum, D2V_MD5, NULL), D2V_NO_MEMORY);
	d2v_memory_fail_after(-1);
	assert_int_equal(d2v_memory_live(), before);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_xxh3_known_answers),
		cmocka_unit_test(test_pieces_equal_the_whole),
		cmocka_unit_test(test_chain_minds_the_order),
		cmocka_unit_test(test_md5_and_sha256_known_answers),
		cmocka_unit_test(test_hex),
		cmocka_unit_test(test_no_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
