// The half of checkpoint.h that knows of a run's folder: names, which one to go on from, which ones to remove.
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "train/checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

d2v_status d2v_checkpoint_name(char **path, const char *folder, uint64_t updates, d2v_error *err) {
	if (updates == D2V_CHECKPOINT_LAST)
		return d2v_asprintf(path, err, "%s/checkpoint_last.safetensors", folder);
	return d2v_asprintf(path, err, "%s/checkpoint_%" PRIu64 ".safetensors", folder, updates);
}

// True for exactly the names that d2v_checkpoint_name makes of a number.
static bool parse_name(const char *name, uint64_t *updates) {
	char again[64];
	if (sscanf(name, "checkpoint_%" SCNu64 ".safetensors", updates) != 1)
		return false;
	snprintf(again, sizeof again, "checkpoint_%" PRIu64 ".safetensors", *updates);
	return strcmp(name, again) == 0;
}

static int newest_first(const void *a, const void *b) {
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
	return left < right ? 1 : left > right ? -1 : 0;
}

// Updates of the kept checkpoints, the newest first.
static d2v_status list_kept(const char *folder, uint64_t **kept, size_t *count, d2v_error *err) {
	char **names;
	size_t found;
	*kept = NULL;
	*count = 0;
	D2V_TRY(d2v_file_list(folder, &names, &found, err));
	d2v_status status = d2v_alloc(kept, found, sizeof **kept, err);
	for (size_t i = 0; status == D2V_OK && i < found; i++)
		*count += parse_name(names[i], &(*kept)[*count]);
	d2v_file_names_free(names, found);
	if (*count)
		qsort(*kept, *count, sizeof **kept, newest_first);
	return status;
}

// What can be wrong with one file and leave hope for another.
static bool is_damage(d2v_status status) {
	return status == D2V_CORRUPT || status == D2V_INVALID || status == D2V_NOT_FOUND;
}

// *checkpoint stays NULL when the file is damaged or not there; `damaged` counts the former.
static d2v_status try_open(
	d2v_checkpoint **checkpoint, const char *folder, uint64_t updates, int *damaged, d2v_error *err) {
	char *path;
	d2v_error why = { 0 };
	D2V_TRY(d2v_checkpoint_name(&path, folder, updates, err));
	d2v_status status = d2v_checkpoint_open(checkpoint, path, &why);
	d2v_free(path);
	if (status == D2V_OK || status == D2V_NOT_FOUND)
		return D2V_OK;
	if (!is_damage(status)) {
		if (err)
			*err = why;
		return status;
	}
	d2v_warn("%s", why.text);
	(*damaged)++;
	return D2V_OK;
}

d2v_status d2v_checkpoint_find(d2v_checkpoint **checkpoint, const char *folder, d2v_error *err) {
	uint64_t *kept = NULL;
	size_t count = 0;
	int damaged = 0;
	*checkpoint = NULL;
	if (!d2v_file_is_directory(folder))
		return D2V_OK;
	D2V_TRY(try_open(checkpoint, folder, D2V_CHECKPOINT_LAST, &damaged, err));
	if (*checkpoint)
		return D2V_OK;
	d2v_status status = list_kept(folder, &kept, &count, err);
	for (size_t i = 0; i < count && status == D2V_OK && !*checkpoint; i++)
		status = try_open(checkpoint, folder, kept[i], &damaged, err);
	d2v_free(kept);
	if (status == D2V_OK && *checkpoint)
		d2v_warn("%s: checkpoint_last.safetensors is %s: going on from %s", folder, damaged ? "damaged" : "not there",
			d2v_checkpoint_path(*checkpoint));
	else if (status == D2V_OK && damaged)
		return d2v_fail(err, D2V_CORRUPT,
			"%s: no checkpoint here is intact; put one back, or move them away to start from the beginning", folder);
	return status;
}

d2v_status d2v_checkpoint_prune(const char *folder, int64_t keep, d2v_error *err) {
	uint64_t *kept;
	size_t count;
	if (keep < 0)
		return D2V_OK;
	D2V_TRY(list_kept(folder, &kept, &count, err));
	d2v_status status = D2V_OK;
	for (size_t i = (size_t)keep; i < count && status == D2V_OK; i++) {
		char *path;
		status = d2v_checkpoint_name(&path, folder, kept[i], err);
		if (status == D2V_OK)
			status = d2v_file_remove(path, err);
		d2v_free(path);
	}
	d2v_free(kept);
	return status;
}
