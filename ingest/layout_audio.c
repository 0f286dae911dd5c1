// Anybody's recordings: every audio file is a sample, named by its path without the ending; a file of the same name
// ending in .txt is its text. All go to one split and have no class, unless the user says how a path tells them.
#include "ingest/decoder.h"

#include <stdio.h>
#include <string.h>

static void audio_place(const d2v_layout_options *options, const char *path, d2v_place *place) {
	const char *ending = d2v_layout_extension(path);
	bool is_text = options->texts && strcmp(ending, ".txt") == 0;
	place->role = is_text ? D2V_ROLE_TEXT : d2v_layout_is_audio(path) ? D2V_ROLE_SAMPLE : D2V_ROLE_IGNORED;
	snprintf(place->split, sizeof place->split, "%s", options->split);
	snprintf(place->name, sizeof place->name, "%.*s", is_text ? (int)strlen(path) : (int)(ending - path), path);
	if (options->texts && place->role == D2V_ROLE_SAMPLE &&
		(size_t)snprintf(place->text_path, sizeof place->text_path, "%.*s.txt", (int)(ending - path), path) >=
			sizeof place->text_path)
		place->text_path[0] = '\0';
	if (place->role != D2V_ROLE_IGNORED)
		d2v_layout_sort(options, path, place);
}

static bool audio_find_text(const char *content, size_t size, const char *name, const char **text, size_t *text_size) {
	(void)name;
	*text = content;
	*text_size = size;
	d2v_layout_trim(text, text_size);
	return true;
}

static size_t audio_count_texts(const char *content, size_t size) {
	(void)content, (void)size;
	return SIZE_MAX; // "a.wav" and "a.flac" may share "a.txt"
}

const d2v_layout d2v_layout_audio = {
	.name = "audio",
	.decoder = &d2v_audio_item,
	.has_classes = d2v_layout_sorts_classes,
	.place = audio_place,
	.find_text = audio_find_text,
	.count_texts = audio_count_texts,
};
