#include "tools/shard_selection.h"

#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

d2v_status shard_selection_open(d2v_dataset **dataset, const char *path, const char *split, d2v_error *err) {
	D2V_TRY(d2v_dataset_open_damaged(dataset, path, split ? split : D2V_DATASET_ALL, UINT64_MAX, err));
	for (uint64_t i = 0; i < d2v_dataset_damages(*dataset); i++)
		d2v_warn("%s; d2v-shard verify lists all damage", d2v_dataset_damage(*dataset, i));
	return D2V_OK;
}

static bool is_ordinal(const char *text, uint64_t *value) {
	char *end;
	if (!*text || strspn(text, "0123456789") != strlen(text))
		return false;
	errno = 0;
	*value = strtoull(text, &end, 10);
	return errno == 0;
}

// "FILE:ORDINAL"; file gets what is before the colon.
static bool is_place(const char *text, char *file, size_t size, uint64_t *ordinal) {
	const char *colon = strrchr(text, ':');
	if (!colon || (size_t)(colon - text) >= size || !is_ordinal(colon + 1, ordinal))
		return false;
	memcpy(file, text, (size_t)(colon - text));
	file[colon - text] = '\0';
	size_t length = strlen(file);
	return length > 4 && strcmp(file + length - 4, ".mdb") == 0;
}

d2v_status shard_selection_find(
	d2v_dataset_view *view, d2v_dataset *dataset, const char *text, uint64_t *record, d2v_error *err) {
	char file[1024];
	uint64_t ordinal;
	d2v_error own = { 0 };
	if (is_place(text, file, sizeof file, &ordinal))
		return d2v_dataset_record_at(dataset, file, ordinal, record, err);
	if (!is_ordinal(text, &ordinal))
		return d2v_dataset_find(view, text, record, err);
	if (ordinal < d2v_dataset_records(dataset)) {
		*record = ordinal;
		return D2V_OK;
	}
	d2v_status status = d2v_dataset_find(view, text, record, &own); // names may be numbers
	if (status != D2V_NOT_FOUND)
		return status == D2V_OK ? D2V_OK : d2v_fail(err, status, "%s", own.text);
	return d2v_fail(err, D2V_NOT_FOUND, "there is no record %s: there are %llu, counted from 0", text,
		(unsigned long long)d2v_dataset_records(dataset));
}

const char *shard_selection_label(const d2v_manifest *manifest, int32_t label, char text[SHARD_SELECTION_LABEL]) {
	if (label < 0 || (size_t)label >= manifest->class_count) {
		snprintf(text, SHARD_SELECTION_LABEL, "%d", label);
		return text;
	}
	const d2v_manifest_class *class = &manifest->classes[label];
	if (class->words[0])
		snprintf(text, SHARD_SELECTION_LABEL, "%s (%s)", class->name, class->words);
	else
		snprintf(text, SHARD_SELECTION_LABEL, "%s", class->name);
	return text;
}
