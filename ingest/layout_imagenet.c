// ImageNet ILSVRC2012 as it is distributed, and as people unpack it:
//
//     nXXXXXXXX.tar in the train tar, and in each of them nXXXXXXXX_<number>.JPEG
//     ILSVRC2012_val_<8 digits>.JPEG in the val tar; line i of the label file is the synset of picture i
//     .../nXXXXXXXX/<any>.JPEG in folders
//
// Records are named by their files without the ending, classes are synsets (WordNet ids).
#include "ingest/decoder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VAL_PREFIX "ILSVRC2012_val_"
#define TEST_PREFIX "ILSVRC2012_test_"

// "n01440764" and nothing but a `stop` character behind it.
static bool is_synset(const char *text, char stop) {
	return text[0] == 'n' && strspn(text + 1, "0123456789") == 8 && text[9] == stop;
}

// The synset that a folder or a class tar on the way names; the last one counts.
static const char *synset_on_the_way(const char *path) {
	const char *found = NULL;
	for (const char *at = path; at; at = strchr(at, '/') ? strchr(at, '/') + 1 : NULL)
		if (is_synset(at, '/') || (is_synset(at, '.') && strncmp(at + 9, ".tar/", 5) == 0))
			found = at;
	return found;
}

static bool is_class_tar(const char *name) {
	return is_synset(name, '.') && strcmp(name + 9, ".tar") == 0;
}

// Validation pictures are numbered from 1.
static void label_by_number(const d2v_layout_options *options, const char *number, d2v_place *place) {
	const char *synset =
		options->val_labels ? d2v_val_labels_find(options->val_labels, strtoul(number, NULL, 10)) : NULL;
	if (synset)
		snprintf(place->class_name, sizeof place->class_name, "%s", synset);
}

static void imagenet_place(const d2v_layout_options *options, const char *path, d2v_place *place) {
	const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path, *synset = synset_on_the_way(path);
	bool is_val = strncmp(file, VAL_PREFIX, strlen(VAL_PREFIX)) == 0,
		 is_test = strncmp(file, TEST_PREFIX, strlen(TEST_PREFIX)) == 0, is_tar = is_class_tar(file);
	snprintf(place->split, sizeof place->split, "%s", options->split);
	if (!is_tar && !d2v_layout_is_image(file))
		return;
	place->role = is_tar ? D2V_ROLE_ARCHIVE : D2V_ROLE_SAMPLE;
	snprintf(place->name, sizeof place->name, "%.*s", (int)(d2v_layout_extension(file) - file), file);
	d2v_layout_sort(options, path, place);
	place->class_name[0] = '\0';
	if (is_tar)
		synset = file;
	if (options->split_folders && (is_val || is_test))
		snprintf(place->split, sizeof place->split, "%s", is_val ? "val" : "test");
	if (synset)
		snprintf(place->class_name, sizeof place->class_name, "%.9s", synset);
	else if (is_val)
		label_by_number(options, file + strlen(VAL_PREFIX), place);
	else if (!is_test && place->role == D2V_ROLE_SAMPLE) {
		place->role = D2V_ROLE_REJECTED;
		d2v_reject(&place->rejection, D2V_REASON_LAYOUT,
			"in no folder or tar of a synset (nXXXXXXXX) and not called " VAL_PREFIX
			"...; for pictures that are laid out otherwise there is d2v-ingest images");
	}
}

static bool imagenet_has_classes(const d2v_layout_options *options) {
	(void)options;
	return true;
}

const d2v_layout d2v_layout_imagenet = {
	.name = "imagenet",
	.decoder = &d2v_image_item,
	.has_classes = imagenet_has_classes,
	.place = imagenet_place,
};
