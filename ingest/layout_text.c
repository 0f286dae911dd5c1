// Text: files of one document each (.txt and .text), JSON lines (.jsonl, .ndjson, .json with one object a line), each
// also packed with gzip, xz, zstd or bzip2, and archives of such; and OpenWebText as it is distributed: xz tars of documents.
#include "ingest/decoder.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

static bool ends_in(const char *name, size_t size, const char *const *endings, size_t *ending) {
	for (; *endings; endings++) {
		*ending = strlen(*endings);
		if (size > *ending && strncasecmp(name + size - *ending, *endings, *ending) == 0)
			return true;
	}
	return false;
}

static const char *name_of(const char *path) {
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

// Without .gz and the like.
static size_t unpacked_size(const char *name) {
	static const char *const packings[] = { ".gz", ".xz", ".zst", ".bz2", NULL };
	size_t size = strlen(name), ending;
	return ends_in(name, size, packings, &ending) ? size - ending : size;
}

bool d2v_layout_is_text(const char *path) {
	static const char *const endings[] = { ".txt", ".text", ".raw", NULL };
	const char *name = name_of(path);
	size_t ending;
	return strncmp(name, "._", 2) != 0 && ends_in(name, unpacked_size(name), endings, &ending);
}

bool d2v_layout_is_json_lines(const char *path) {
	static const char *const endings[] = { ".jsonl", ".ndjson", ".json", NULL };
	const char *name = name_of(path);
	size_t ending;
	return strncmp(name, "._", 2) != 0 && ends_in(name, unpacked_size(name), endings, &ending);
}

static bool is_archive(const char *path) {
	static const char *const endings[] = { ".tar", ".tgz", ".zip", NULL };
	const char *name = name_of(path);
	size_t ending;
	return strncmp(name, "._", 2) != 0 && ends_in(name, unpacked_size(name), endings, &ending);
}

static void choose_split(const d2v_layout_options *options, const char *pattern, const char *path, d2v_place *place) {
	bool valid = pattern && (fnmatch(pattern, name_of(path), 0) == 0 || fnmatch(pattern, path, 0) == 0);
	snprintf(place->split, sizeof place->split, "%s", valid ? "valid" : options->split);
}

static void text_place(const d2v_layout_options *options, const char *path, d2v_place *place) {
	bool json = options->field && d2v_layout_is_json_lines(path);
	bool text = json || d2v_layout_is_text(path);
	place->role = text ? D2V_ROLE_PIECES : is_archive(path) ? D2V_ROLE_ARCHIVE : D2V_ROLE_IGNORED;
	place->json_lines = json;
	snprintf(place->name, sizeof place->name, "%s", path);
	choose_split(options, options->valid, path, place);
}

static bool is_single(const char *path) {
	return d2v_layout_is_text(path) || d2v_layout_is_json_lines(path);
}

static bool no_text(const char *content, size_t size, const char *name, const char **text, size_t *text_size) {
	(void)content, (void)size, (void)name, (void)text, (void)text_size;
	return false;
}

static size_t no_texts(const char *content, size_t size) {
	(void)content, (void)size;
	return 0;
}

const d2v_layout d2v_layout_text = {
	.name = "text",
	.decoder = &d2v_text_item,
	.place = text_place,
	.is_single = is_single,
	.find_text = no_text,
	.count_texts = no_texts,
};

// openwebtext/urlsf_subsetNN-M_data.xz is a tar of documents; NN = 20 is the split "valid", as the article's scripts
// have it. Unpacked by hand they are .txt files below folders of those names, which give the same splits.
static void openwebtext_place(const d2v_layout_options *options, const char *path, d2v_place *place) {
	const char *subset = strstr(path, "urlsf_subset"), *pattern = options->valid ? options->valid : "urlsf_subset20*";
	static const char *const endings[] = { ".xz", ".tar", NULL };
	size_t ending;
	bool archive = subset && ends_in(path, strlen(path), endings, &ending);
	text_place(options, path, place);
	if (archive)
		place->role = D2V_ROLE_SAMPLE;
	choose_split(options, pattern, subset ? subset : path, place);
}

const d2v_layout d2v_layout_openwebtext = {
	.name = "openwebtext",
	.decoder = &d2v_text_item,
	.place = openwebtext_place,
	.is_single = is_single,
	.find_text = no_text,
	.count_texts = no_texts,
};
