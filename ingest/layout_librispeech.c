// .../<split>/<speaker>/<chapter>/<speaker>-<chapter>-<utterance>.flac, and beside them <speaker>-<chapter>.trans.txt
// with a line "<speaker>-<chapter>-<utterance> TEXT" for each. Record names are <speaker>-<chapter>-<utterance>, labels
// speakers.
#include "ingest/decoder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct path_parts {
	const char *split, *speaker, *chapter, *file; // in path; split NULL: the path starts with the speaker
	int split_size, speaker_size, chapter_size;
} path_parts;

static bool digits(const char *text, int size) {
	return size > 0 && size <= 9 && strspn(text, "0123456789") >= (size_t)size;
}

static bool cut(const char *path, path_parts *parts) {
	const char *at[4];
	int size[4], found = 0;
	for (const char *end = path + strlen(path); found < 4; found++) {
		const char *slash = memrchr(path, '/', (size_t)(end - path));
		at[found] = slash ? slash + 1 : path;
		size[found] = (int)(end - at[found]);
		end = slash;
		if (!slash) {
			found++;
			break;
		}
	}
	if (found < 3 || !digits(at[2], size[2]) || !digits(at[1], size[1]))
		return false;
	parts->file = at[0];
	parts->chapter = at[1], parts->chapter_size = size[1];
	parts->speaker = at[2], parts->speaker_size = size[2];
	parts->split = found == 4 ? at[3] : NULL;
	parts->split_size = found == 4 ? size[3] : 0;
	return true;
}

static void place_sample(const path_parts *parts, const char *path, d2v_place *place) {
	char prefix[32];
	int length = snprintf(
		prefix, sizeof prefix, "%.*s-%.*s-", parts->speaker_size, parts->speaker, parts->chapter_size, parts->chapter);
	const char *ending = d2v_layout_extension(path);
	if (strncmp(parts->file, prefix, (size_t)length) != 0 || ending == parts->file + length) {
		place->role = D2V_ROLE_REJECTED;
		d2v_reject(&place->rejection, D2V_REASON_LAYOUT, "not <speaker>-<chapter>-<utterance> of its folders");
		return;
	}
	place->role = D2V_ROLE_SAMPLE;
	place->label = (int32_t)strtol(parts->speaker, NULL, 10);
	snprintf(place->name, sizeof place->name, "%.*s", (int)(ending - parts->file), parts->file);
	snprintf(place->text_path, sizeof place->text_path, "%.*s%.*s.trans.txt", (int)(parts->file - path), path,
		length - 1, prefix);
}

static void librispeech_place(const d2v_layout_options *options, const char *path, d2v_place *place) {
	path_parts parts;
	size_t length = strlen(path);
	bool is_text = length > 10 && strcmp(path + length - 10, ".trans.txt") == 0, is_audio = d2v_layout_is_audio(path);
	place->role = D2V_ROLE_IGNORED;
	if (!is_text && !is_audio)
		return;
	snprintf(place->name, sizeof place->name, "%s", path);
	bool fits = cut(path, &parts);
	if (fits && parts.split)
		snprintf(place->split, sizeof place->split, "%.*s", parts.split_size, parts.split);
	else
		snprintf(place->split, sizeof place->split, "%s", options->split);
	if (is_text) {
		place->role = fits && options->texts ? D2V_ROLE_TEXT : D2V_ROLE_IGNORED;
		return;
	}
	if (fits && parts.split_size <= D2V_SPLIT_NAME_MAX && d2v_layout_is_split_name(place->split)) {
		place_sample(&parts, path, place);
		if (!options->texts)
			place->text_path[0] = '\0';
		return;
	}
	place->role = D2V_ROLE_REJECTED;
	place->split[0] = '\0';
	d2v_reject(&place->rejection, D2V_REASON_LAYOUT,
		"not <split>/<speaker>/<chapter>/<file>; for recordings that are laid out otherwise there is d2v-ingest audio");
}

static bool librispeech_find_text(
	const char *content, size_t size, const char *name, const char **text, size_t *text_size) {
	size_t length = strlen(name);
	for (const char *line = content, *end = content + size; line < end;) {
		const char *stop = memchr(line, '\n', (size_t)(end - line));
		stop = stop ? stop : end;
		if ((size_t)(stop - line) > length && memcmp(line, name, length) == 0 && strchr(" \t\r", line[length])) {
			*text = line + length;
			*text_size = (size_t)(stop - *text);
			d2v_layout_trim(text, text_size);
			return true;
		}
		line = stop + 1;
	}
	return false;
}

static size_t librispeech_count_texts(const char *content, size_t size) {
	size_t lines = 0;
	for (size_t i = 0; i < size; i++)
		lines += content[i] != '\n' && (i + 1 == size || content[i + 1] == '\n');
	return lines;
}

const d2v_layout d2v_layout_librispeech = { .name = "librispeech",
	.decoder = &d2v_audio_item,
	.place = librispeech_place,
	.find_text = librispeech_find_text,
	.count_texts = librispeech_count_texts };
