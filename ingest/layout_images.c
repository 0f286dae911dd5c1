// Anybody's pictures: every JPEG or PNG file is a sample, named by its path without the ending. Folders tell split and
// class, unless the user has another rule.
#include "ingest/decoder.h"

#include <stdio.h>

static void images_place(const d2v_layout_options *options, const char *path, d2v_place *place) {
	snprintf(place->split, sizeof place->split, "%s", options->split);
	if (!d2v_layout_is_image(path))
		return;
	place->role = D2V_ROLE_SAMPLE;
	snprintf(place->name, sizeof place->name, "%.*s", (int)(d2v_layout_extension(path) - path), path);
	d2v_layout_sort(options, path, place);
}

const d2v_layout d2v_layout_images = {
	.name = "images",
	.decoder = &d2v_image_item,
	.has_classes = d2v_layout_sorts_classes,
	.place = images_place,
};
