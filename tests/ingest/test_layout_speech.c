// LibriSpeech's folders and anybody's recordings: what a path means, and where a sample's text is.
#include "tests/base/scratch.h"

#include "ingest/layout.h"
#include "shards/record.h"

#include <string.h>

static d2v_place place_of(const d2v_layout *layout, const char *path, bool texts) {
	d2v_layout_options options = { .split = "train", .texts = texts };
	d2v_place place = { .label = D2V_RECORD_NO_LABEL };
	layout->place(&options, path, &place);
	return place;
}

static void test_librispeech(void **state) {
	(void)state;
	static const struct {
		const char *path;
		d2v_role role;
		const char *split, *name, *text_path;
		int32_t label;
	} cases[] = {
		{ "LibriSpeech/dev-clean/84/121123/84-121123-0001.flac", D2V_ROLE_SAMPLE, "dev-clean", "84-121123-0001",
			"LibriSpeech/dev-clean/84/121123/84-121123.trans.txt", 84 },
		{ "dev-clean/84/121123/84-121123-0001.FLAC", D2V_ROLE_SAMPLE, "dev-clean", "84-121123-0001",
			"dev-clean/84/121123/84-121123.trans.txt", 84 },
		{ "84/121123/84-121123-0001.wav", D2V_ROLE_SAMPLE, "train", "84-121123-0001", "84/121123/84-121123.trans.txt",
			84 },
		{ "a/b/c/dev-clean/84/121123/84-121123-0001.flac", D2V_ROLE_SAMPLE, "dev-clean", "84-121123-0001",
			"a/b/c/dev-clean/84/121123/84-121123.trans.txt", 84 },
		{ "LibriSpeech/dev-clean/84/121123/84-121123.trans.txt", D2V_ROLE_TEXT, "dev-clean", NULL, NULL, 0 },
		{ "LibriSpeech/SPEAKERS.TXT", D2V_ROLE_IGNORED, NULL, NULL, NULL, 0 },
		{ "LibriSpeech/dev-clean/84/121123/._84-121123-0001.flac", D2V_ROLE_IGNORED, NULL, NULL, NULL, 0 },
		{ "LibriSpeech/dev-clean/84/121123/85-121123-0001.flac", D2V_ROLE_REJECTED, "dev-clean", NULL, NULL, 0 },
		{ "LibriSpeech/dev-clean/84/121123/84-121123-.flac", D2V_ROLE_REJECTED, "dev-clean", NULL, NULL, 0 },
		{ "LibriSpeech/dev-clean/eve/121123/eve-121123-0001.flac", D2V_ROLE_REJECTED, "", NULL, NULL, 0 },
		{ "LibriSpeech/.hidden/84/121123/84-121123-0001.flac", D2V_ROLE_REJECTED, "", NULL, NULL, 0 },
		{ "LibriSpeech/tokenizer/84/121123/84-121123-0001.flac", D2V_ROLE_REJECTED, "", NULL, NULL, 0 },
		{ "84-121123-0001.flac", D2V_ROLE_REJECTED, "", NULL, NULL, 0 },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		d2v_place place = place_of(&d2v_layout_librispeech, cases[i].path, true);
		if (place.role != cases[i].role)
			fail_msg("%s: role %d instead of %d", cases[i].path, place.role, cases[i].role);
		if (cases[i].split)
			assert_string_equal(place.split, cases[i].split);
		assert_int_equal(place.rejection.reason, place.role == D2V_ROLE_REJECTED ? D2V_REASON_LAYOUT : D2V_REASON_NONE);
		if (place.role != D2V_ROLE_SAMPLE)
			continue;
		assert_string_equal(place.name, cases[i].name);
		assert_string_equal(place.text_path, cases[i].text_path);
		assert_int_equal(place.label, cases[i].label);
	}
	assert_string_equal(place_of(&d2v_layout_librispeech, cases[0].path, false).text_path, "");
	assert_int_equal(place_of(&d2v_layout_librispeech, cases[4].path, false).role, D2V_ROLE_IGNORED);
}

static void test_audio(void **state) {
	(void)state;
	static const struct {
		const char *path;
		d2v_role role;
		const char *name, *text_path;
	} cases[] = {
		{ "a.wav", D2V_ROLE_SAMPLE, "a", "a.txt" },
		{ "band/live 1.2/a.b.MP3", D2V_ROLE_SAMPLE, "band/live 1.2/a.b", "band/live 1.2/a.b.txt" },
		{ "a.opus", D2V_ROLE_SAMPLE, "a", "a.txt" },
		{ "a.txt", D2V_ROLE_TEXT, "a.txt", NULL },
		{ "a.jpg", D2V_ROLE_IGNORED, NULL, NULL },
		{ "wav", D2V_ROLE_IGNORED, NULL, NULL },
		{ "folder.wav/notes", D2V_ROLE_IGNORED, NULL, NULL },
		{ ".wav", D2V_ROLE_IGNORED, NULL, NULL },
		{ "._a.wav", D2V_ROLE_IGNORED, NULL, NULL },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		d2v_place place = place_of(&d2v_layout_audio, cases[i].path, true);
		if (place.role != cases[i].role)
			fail_msg("%s: role %d instead of %d", cases[i].path, place.role, cases[i].role);
		if (cases[i].name)
			assert_string_equal(place.name, cases[i].name);
		if (cases[i].text_path)
			assert_string_equal(place.text_path, cases[i].text_path);
	}
}

static void check_text(const d2v_layout *layout, const char *content, const char *name, const char *wanted) {
	const char *text = "unset";
	size_t size = 0;
	bool found = layout->find_text(content, strlen(content), name, &text, &size);
	assert_int_equal(found, wanted != NULL);
	if (wanted && (size != strlen(wanted) || memcmp(text, wanted, size) != 0))
		fail_msg("%s: '%.*s' instead of '%s'", name, (int)size, text, wanted);
}

static void test_texts(void **state) {
	(void)state;
	static const char content[] = "1-2-0001 ONE AND A HALF\r\n1-2-0002\tTWO\n\n1-2-0003 \n1-2-0004";
	check_text(&d2v_layout_librispeech, content, "1-2-0001", "ONE AND A HALF");
	check_text(&d2v_layout_librispeech, content, "1-2-0002", "TWO");
	check_text(&d2v_layout_librispeech, content, "1-2-0003", "");
	check_text(&d2v_layout_librispeech, content, "1-2-0004", NULL); // a name alone is no line of a text
	check_text(&d2v_layout_librispeech, content, "1-2-000", NULL);  // no prefix of a name is the name
	check_text(&d2v_layout_librispeech, "", "1-2-0001", NULL);
	assert_int_equal(d2v_layout_librispeech.count_texts(content, sizeof content - 1), 4);
	assert_int_equal(d2v_layout_librispeech.count_texts("", 0), 0);
	check_text(&d2v_layout_audio, "  spoken words\n", "any/name", "spoken words");
}

static void test_split_names(void **state) {
	(void)state;
	static const char *const good[] = { "train", "train-clean-100", "v1.0_b", "0" };
	static const char *const bad[] = { "", ".", "..", ".ingest", "a/b", "a b", "tokenizer", "\xc3\xa4",
		"0123456789012345678901234567890123456789012345678901234567890123456789" };
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		assert_true(d2v_layout_is_split_name(good[i]));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(d2v_layout_is_split_name(bad[i]));
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_librispeech),
		cmocka_unit_test(test_audio),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_split_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
