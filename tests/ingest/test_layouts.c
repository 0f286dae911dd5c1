// What a path means: split, class, name and role, for each layout.
#include "tests/base/scratch.h"

#include "base/file.h"
#include "base/memory.h"
#include "ingest/layout.h"
#include "shards/record.h"

#include <string.h>

typedef struct expected {
	const char *path;
	d2v_role role;
	const char *split, *name, *class_name;
} expected;

static void check(const d2v_layout *layout, const d2v_layout_options *options, const expected *cases, size_t count) {
	for (size_t i = 0; i < count; i++) {
		const expected *want = &cases[i];
		d2v_place place = { .label = D2V_RECORD_NO_LABEL };
		layout->place(options, want->path, &place);
		if (place.role != want->role)
			fail_msg("%s: role %d instead of %d", want->path, place.role, want->role);
		if (want->role == D2V_ROLE_IGNORED) {
			assert_string_equal(place.split, options->split); // a link there is listed in it
			continue;
		}
		if (strcmp(place.split, want->split) != 0 || strcmp(place.class_name, want->class_name) != 0)
			fail_msg("%s: split '%s' class '%s' instead of '%s' '%s'", want->path, place.split, place.class_name,
				want->split, want->class_name);
		if (want->role == D2V_ROLE_SAMPLE)
			assert_string_equal(place.name, want->name);
		assert_int_equal(place.rejection.reason != D2V_REASON_NONE, want->role == D2V_ROLE_REJECTED);
	}
}
#define CHECK(layout, options, cases) check(layout, options, cases, sizeof(cases) / sizeof *(cases))

static void test_images_by_folders(void **state) {
	(void)state;
	static const expected cases[] = {
		{ "a.jpg", D2V_ROLE_SAMPLE, "all", "a", "" },
		{ "dog/a.jpg", D2V_ROLE_SAMPLE, "all", "dog/a", "dog" },
		{ "pets/dog/a.PNG", D2V_ROLE_SAMPLE, "all", "pets/dog/a", "dog" },
		{ "train/a.jpeg", D2V_ROLE_SAMPLE, "train", "train/a", "" },
		{ "cifar10/train/dog/1.jpg", D2V_ROLE_SAMPLE, "train", "cifar10/train/dog/1", "dog" },
		{ "cifar10/test/dog/1.jpg", D2V_ROLE_SAMPLE, "test", "cifar10/test/dog/1", "dog" },
		{ "tiny/train/n01443537/images/x.JPEG", D2V_ROLE_SAMPLE, "train", "tiny/train/n01443537/images/x",
			"n01443537" },
		{ "train/test/a.jpg", D2V_ROLE_SAMPLE, "train", "train/test/a", "test" }, // the first one is the split
		{ "dog/train/a.jpg", D2V_ROLE_SAMPLE, "train", "dog/train/a", "" },
		{ "trained/dog/a.jpg", D2V_ROLE_SAMPLE, "all", "trained/dog/a", "dog" },
		{ "train", D2V_ROLE_IGNORED, "", "", "" },
		{ "dog/a.txt", D2V_ROLE_IGNORED, "", "", "" },
		{ "dog/.jpg", D2V_ROLE_IGNORED, "", "", "" },
		{ "dog/a", D2V_ROLE_IGNORED, "", "", "" },
		{ "__MACOSX/dog/._a.jpg", D2V_ROLE_IGNORED, "", "", "" },
	};
	d2v_layout_options options = { .split = "all", .split_folders = true, .label_folders = true };
	CHECK(&d2v_layout_images, &options, cases);
	assert_true(d2v_layout_images.has_classes(&options));
}

static void test_images_without_folders(void **state) {
	(void)state;
	static const expected cases[] = {
		{ "train/dog/a.jpg", D2V_ROLE_SAMPLE, "mine", "train/dog/a", "" },
		{ "a.jpg", D2V_ROLE_SAMPLE, "mine", "a", "" },
	};
	d2v_layout_options options = { .split = "mine" };
	CHECK(&d2v_layout_images, &options, cases);
	assert_false(d2v_layout_images.has_classes(&options));
}

static void test_rules(void **state) {
	(void)state;
	static const expected cases[] = {
		{ "fsdd/recordings/7_jackson_4.wav", D2V_ROLE_SAMPLE, "test", "fsdd/recordings/7_jackson_4", "7" },
		{ "fsdd/recordings/7_jackson_14.wav", D2V_ROLE_SAMPLE, "train", "fsdd/recordings/7_jackson_14", "7" },
		{ "fsdd/recordings/other.wav", D2V_ROLE_SAMPLE, "train", "fsdd/recordings/other", "" },
		{ "fsdd/README.md", D2V_ROLE_IGNORED, "", "", "" },
	};
	d2v_error err = { 0 };
	d2v_path_rule *label, *split;
	assert_ok(d2v_path_rule_new(&label, "--label-by", "([0-9])_[a-z]+_[0-9]+\\.wav$", &err));
	assert_ok(d2v_path_rule_new(&split, "--split-by", "test=_[0-4]\\.wav$", &err));
	d2v_layout_options options = { .split = "train", .label_rule = label, .split_rule = split };
	CHECK(&d2v_layout_audio, &options, cases);
	assert_true(d2v_layout_audio.has_classes(&options));
	d2v_path_rule_free(label);
	d2v_path_rule_free(split);
}

static void test_split_by_group(void **state) {
	(void)state;
	static const expected cases[] = {
		{ "fold-3/a.jpg", D2V_ROLE_SAMPLE, "fold-3", "fold-3/a", "" },
		{ "rest/a.jpg", D2V_ROLE_SAMPLE, "train", "rest/a", "" },
		{ "fold-../a.jpg", D2V_ROLE_SAMPLE, "fold-..", "fold-../a", "" }, // no way out: letters that a folder may have
		{ "fold-a b/a.jpg", D2V_ROLE_REJECTED, "", "", "" },
	};
	d2v_error err = { 0 };
	d2v_path_rule *split;
	assert_ok(d2v_path_rule_new(&split, "--split-by", "^(fold-[^/]*)/", &err));
	CHECK(&d2v_layout_images, (&(d2v_layout_options){ .split = "train", .split_rule = split }), cases);
	d2v_path_rule_free(split);
}

static void test_rules_that_are_none(void **state) {
	(void)state;
	d2v_error err = { 0 };
	d2v_path_rule *rule;
	char name[8];
	assert_int_equal(d2v_path_rule_new(&rule, "--label-by", "(", &err), D2V_INVALID);
	assert_non_null(strstr(err.text, "--label-by"));
	assert_null(rule);
	assert_ok(d2v_path_rule_new(&rule, "--label-by", "a(b)?(c)", &err));
	assert_false(d2v_path_rule_read(rule, "ac", name, sizeof name)); // the group took part in nothing
	assert_true(d2v_path_rule_read(rule, "abc", name, sizeof name));
	assert_string_equal(name, "b");
	d2v_path_rule_free(rule);
	assert_ok(d2v_path_rule_new(&rule, "--label-by", "[a-z]*", &err)); // no group: all that matches
	assert_true(d2v_path_rule_read(rule, "seven77", name, sizeof name));
	assert_string_equal(name, "seven");
	assert_false(d2v_path_rule_read(rule, "eightlet", name, sizeof name)); // eight bytes and a NUL are too many
	assert_false(d2v_path_rule_read(rule, "7", name, sizeof name));
	d2v_path_rule_free(rule);
}

static void write_labels(void **state, const char *text) {
	d2v_error err = { 0 };
	assert_ok(d2v_file_replace(scratch_path(state, "labels"), text, strlen(text), &err));
}

static void test_imagenet(void **state) {
	static const expected cases[] = {
		{ "n01440764.tar", D2V_ROLE_ARCHIVE, "train", "", "n01440764" },
		{ "ILSVRC2012_img_train/n01440764.tar", D2V_ROLE_ARCHIVE, "train", "", "n01440764" },
		{ "n01440764.tar/n01440764_10026.JPEG", D2V_ROLE_SAMPLE, "train", "n01440764_10026", "n01440764" },
		{ "train/n01440764/n01440764_1.JPEG", D2V_ROLE_SAMPLE, "train", "n01440764_1", "n01440764" },
		{ "val/n02102040/ILSVRC2012_val_00000001.JPEG", D2V_ROLE_SAMPLE, "val", "ILSVRC2012_val_00000001",
			"n02102040" },
		{ "ILSVRC2012_val_00000001.JPEG", D2V_ROLE_SAMPLE, "val", "ILSVRC2012_val_00000001", "n00000011" },
		{ "val/ILSVRC2012_val_00000002.JPEG", D2V_ROLE_SAMPLE, "val", "ILSVRC2012_val_00000002", "n00000022" },
		{ "ILSVRC2012_val_00000003.JPEG", D2V_ROLE_SAMPLE, "val", "ILSVRC2012_val_00000003", "" }, // no such line
		{ "ILSVRC2012_val_00000000.JPEG", D2V_ROLE_SAMPLE, "val", "ILSVRC2012_val_00000000", "" },
		{ "test/ILSVRC2012_test_00000001.JPEG", D2V_ROLE_SAMPLE, "test", "ILSVRC2012_test_00000001", "" },
		{ "n01440764.tar/README", D2V_ROLE_IGNORED, "", "", "" },
		{ "n0144076.tar", D2V_ROLE_IGNORED, "", "", "" },
		{ "n01440764.tar.gz", D2V_ROLE_IGNORED, "", "", "" },
		{ "holiday.jpg", D2V_ROLE_REJECTED, "train", "", "" },
		{ "n014407640/holiday.jpg", D2V_ROLE_REJECTED, "train", "", "" },
	};
	d2v_error err = { 0 };
	d2v_val_labels *labels;
	write_labels(state, "n00000011\nn00000022\n");
	assert_ok(d2v_val_labels_load(&labels, scratch_path(state, "labels"), NULL, &err));
	assert_int_equal(d2v_val_labels_count(labels), 2);
	d2v_layout_options options = { .split = "train", .split_folders = true, .val_labels = labels };
	CHECK(&d2v_layout_imagenet, &options, cases);
	d2v_val_labels_free(labels);
}

static void test_val_labels(void **state) {
	d2v_error err = { 0 };
	d2v_val_labels *labels;
	static const char *const bad[] = { "", "n00000011\n\nn00000022\n", "n0000001\n", "tench\n", "n00000011 tench\n",
		"n000000111\n" };
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		write_labels(state, bad[i]);
		assert_int_equal(d2v_val_labels_load(&labels, scratch_path(state, "labels"), NULL, &err), D2V_INVALID);
		assert_null(labels);
	}
	write_labels(state, "n00000011\r\nn00000022"); // other line ends, and none
	assert_ok(d2v_val_labels_load(&labels, scratch_path(state, "labels"), NULL, &err));
	assert_int_equal(d2v_val_labels_count(labels), 2);
	assert_string_equal(d2v_val_labels_find(labels, 2), "n00000022");
	assert_null(d2v_val_labels_find(labels, 0));
	assert_null(d2v_val_labels_find(labels, 3));
	d2v_val_labels_free(labels);
}

static void test_classes(void **state) {
	d2v_error err = { 0 };
	d2v_classes classes, again;
	json_t *array;
	d2v_classes_init(&classes);
	d2v_classes_init(&again);
	write_labels(state, "n02 goldfish, Carassius auratus\r\n\nn01\ttench\nn03\n");
	assert_ok(d2v_classes_load(&classes, scratch_path(state, "labels"), &err));
	assert_int_equal(classes.count, 3);
	assert_int_equal(d2v_classes_find(&classes, "n02"), 0);
	assert_int_equal(d2v_classes_find(&classes, "n01"), 1);
	assert_int_equal(d2v_classes_find(&classes, "n04"), -1);
	assert_string_equal(classes.items[0].words, "goldfish, Carassius auratus");
	assert_string_equal(classes.items[2].words, "");
	assert_ok(d2v_classes_to_json(&classes, &array, &err));
	assert_ok(d2v_classes_from_json(&again, array, "journal", &err));
	assert_int_equal(d2v_classes_digest(&again), d2v_classes_digest(&classes));
	d2v_classes_sort(&classes);
	assert_int_equal(d2v_classes_find(&classes, "n02"), 1);
	assert_true(d2v_classes_digest(&again) != d2v_classes_digest(&classes));
	json_decref(array);
	d2v_classes_release(&classes);
	d2v_classes_release(&again);
	static const char *const bad[] = { "", "\n \n", "dog\ncat\ndog 2\n", "d\033[31mog\n", "\xff\n" };
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		write_labels(state, bad[i]);
		assert_int_equal(d2v_classes_load(&classes, scratch_path(state, "labels"), &err), D2V_INVALID);
		assert_non_null(strstr(err.text, "labels"));
		d2v_classes_release(&classes);
	}
}

static void test_many_classes(void **state) {
	(void)state;
	d2v_error err = { 0 };
	d2v_classes classes;
	char name[32];
	d2v_classes_init(&classes);
	for (int i = 999; i >= 0; i--) {
		snprintf(name, sizeof name, "class-%03d", i);
		assert_ok(d2v_classes_add(&classes, name, NULL, &err));
		assert_ok(d2v_classes_add(&classes, name, "again", &err)); // changes nothing
	}
	assert_int_equal(classes.count, 1000);
	d2v_classes_sort(&classes);
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof name, "class-%03d", i);
		assert_int_equal(d2v_classes_find(&classes, name), i);
	}
	d2v_classes_release(&classes);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_images_by_folders),
		cmocka_unit_test(test_images_without_folders),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_split_by_group),
		cmocka_unit_test(test_rules_that_are_none),
		cmocka_unit_test_setup_teardown(test_imagenet, scratch_set_up, scratch_tear_down),
		cmocka_unit_test_setup_teardown(test_val_labels, scratch_set_up, scratch_tear_down),
		cmocka_unit_test_setup_teardown(test_classes, scratch_set_up, scratch_tear_down),
		cmocka_unit_test(test_many_classes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
