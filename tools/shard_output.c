#include "tools/shard_output.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

d2v_status shard_output_json(json_t *facts, d2v_error *err) {
	char *text;
	if (!facts)
		return d2v_fail(err, D2V_NO_MEMORY, "no memory for JSON");
	d2v_status status = d2v_json_text(facts, &text, err);
	json_decref(facts);
	D2V_TRY(status);
	fputs(text, stdout);
	d2v_free(text);
	return D2V_OK;
}

d2v_status shard_output_json_line(json_t *facts, d2v_error *err) {
	if (!facts)
		return d2v_fail(err, D2V_NO_MEMORY, "no memory for JSON");
	char *text = json_dumps(facts, JSON_SORT_KEYS);
	json_decref(facts);
	if (!text)
		return d2v_fail(err, D2V_NO_MEMORY, "no memory for JSON");
	fputs(text, stdout);
	free(text); // jansson's
	return D2V_OK;
}

// Bytes at `text` that may be shown as they are: one printable character of UTF-8, or 0.
static size_t printable(const char *text, size_t left) {
	unsigned char lead = (unsigned char)text[0];
	if (lead < 0x80)
		return lead >= 0x20 && lead != 0x7F;
	size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
	if (left < length || !d2v_record_is_text(text, length))
		return 0;
	return lead == 0xC2 && (unsigned char)text[1] < 0xA0 ? 0 : length; // C1 controls
}

void shard_output_text(const char *text, size_t size, size_t columns) {
	size_t column = 0;
	for (size_t at = 0, length; at < size; at += length, column++) {
		if (column + 1 >= columns) {
			length = printable(text + at, size - at);
			if (at + (length ? length : 1) < size) {
				fputs("…", stdout);
				return;
			}
		}
		length = printable(text + at, size - at);
		if (length) {
			fwrite(text + at, 1, length, stdout);
			continue;
		}
		printf("\\x%02x", (unsigned char)text[at]);
		length = 1;
		column += 3;
	}
}

json_t *shard_output_json_text(const char *text, size_t size) {
	if (d2v_record_is_text(text, size))
		return json_stringn(text, size);
	char *escaped;
	size_t used = 0;
	if (d2v_alloc(&escaped, size * 4 + 1, 1, NULL) != D2V_OK)
		return NULL;
	for (size_t at = 0, length; at < size; at += length) {
		length = printable(text + at, size - at);
		memcpy(escaped + used, text + at, length);
		used += length;
		if (length)
			continue;
		used += (size_t)snprintf(escaped + used, 5, "\\x%02x", (unsigned char)text[at]);
		length = 1;
	}
	json_t *made = json_stringn(escaped, used);
	d2v_free(escaped);
	return made;
}

const char *shard_output_length(
	const d2v_record *record, d2v_modality modality, uint32_t rate, char text[SHARD_OUTPUT_LENGTH]) {
	char count[D2V_PROGRESS_TEXT];
	if (modality == D2V_AUDIO && rate)
		snprintf(text, SHARD_OUTPUT_LENGTH, "%.2f s", (double)record->units / rate);
	else if (modality == D2V_IMAGE)
		snprintf(text, SHARD_OUTPUT_LENGTH, "%ux%u", record->rate, record->rows);
	else
		snprintf(text, SHARD_OUTPUT_LENGTH, "%s %s", d2v_progress_count(record->units, count),
			modality == D2V_TEXT ? "tokens" : "samples");
	return text;
}

const char *shard_output_total(uint64_t units, d2v_modality modality, uint32_t rate, char text[SHARD_OUTPUT_LENGTH]) {
	char count[D2V_PROGRESS_TEXT];
	if (modality == D2V_AUDIO && rate)
		snprintf(text, SHARD_OUTPUT_LENGTH, "%.2f h", (double)units / rate / 3600);
	else
		snprintf(text, SHARD_OUTPUT_LENGTH, "%s %s", d2v_progress_count(units, count),
			modality == D2V_TEXT    ? "tokens"
			: modality == D2V_IMAGE ? "pixels"
									: "samples");
	return text;
}
