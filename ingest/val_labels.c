#include "ingest/val_labels.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "ingest/address.h"

#include <string.h>

#define BYTES_MAX ((size_t)16 << 20)
#define SYNSET_BYTES 9

struct d2v_val_labels {
	char *text;
	size_t size;
	char (*synsets)[SYNSET_BYTES + 1]; // (count)
	size_t count, capacity;
	uint64_t digest;
};

// A line that is no synset would shift all labels behind it, so nothing is passed over.
static d2v_status cut_lines(d2v_val_labels *labels, const char *where, d2v_error *err) {
	if (!labels->size)
		return d2v_fail(err, D2V_INVALID, "%s: is empty; it is to have a synset for each validation picture", where);
	const char *end = labels->text + labels->size;
	for (const char *line = labels->text; line < end;) {
		size_t length = strcspn(line, "\r\n");
		if (length != SYNSET_BYTES || line[0] != 'n' || strspn(line + 1, "0123456789") != SYNSET_BYTES - 1)
			return d2v_fail(err, D2V_INVALID, "%s: line %zu is no synset: nXXXXXXXX is expected, one for each picture",
				where, labels->count + 1);
		D2V_TRY(d2v_reserve(&labels->synsets, &labels->capacity, labels->count + 1, sizeof *labels->synsets, err));
		memcpy(labels->synsets[labels->count], line, SYNSET_BYTES);
		labels->synsets[labels->count++][SYNSET_BYTES] = '\0';
		line += length;
		line += line < end && *line == '\r';
		line += line < end && *line == '\n';
	}
	return D2V_OK;
}

static d2v_status read_file(d2v_val_labels *labels, const char *path, d2v_error *err) {
	void *bytes;
	D2V_TRY(d2v_file_read(path, BYTES_MAX, &bytes, &labels->size, err));
	labels->text = bytes;
	return D2V_OK;
}

d2v_status d2v_val_labels_load(
	d2v_val_labels **labels, const char *where, const d2v_download_options *download, d2v_error *err) {
	d2v_val_labels *loaded;
	*labels = NULL;
	D2V_TRY(d2v_alloc_zero(&loaded, 1, sizeof *loaded, err));
	d2v_status status = d2v_address_is_url(where)
							? d2v_download_whole(where, download, BYTES_MAX, &loaded->text, &loaded->size, err)
							: read_file(loaded, where, err);
	if (status == D2V_OK)
		status = cut_lines(loaded, where, err);
	if (status == D2V_OK)
		loaded->digest = d2v_hash64(loaded->text, loaded->size);
	if (status != D2V_OK)
		d2v_val_labels_free(loaded);
	else
		*labels = loaded;
	return status;
}

void d2v_val_labels_free(d2v_val_labels *labels) {
	if (!labels)
		return;
	d2v_free(labels->text);
	d2v_free(labels->synsets);
	d2v_free(labels);
}

const char *d2v_val_labels_find(const d2v_val_labels *labels, uint64_t number) {
	return number && number <= labels->count ? labels->synsets[number - 1] : NULL;
}

uint64_t d2v_val_labels_count(const d2v_val_labels *labels) {
	return labels->count;
}

uint64_t d2v_val_labels_digest(const d2v_val_labels *labels) {
	return labels->digest;
}
