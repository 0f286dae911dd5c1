#include "tools/shard_content.h"

#include "base/file.h"
#include "base/memory.h"
#include "shards/payload_file.h"
#include "shards/token_text.h"
#include "tools/shard_spectrogram.h"

#include <string.h>
#include <strings.h>

#define SPECTROGRAM_WIDTH 8192
#define SPECTROGRAM_HEIGHT 256

d2v_status shard_content_text(
	const char *dataset, const d2v_record *record, uint64_t max_tokens, char **text, size_t *size, d2v_error *err) {
	d2v_token_text *tokenizer;
	d2v_tokens tokens;
	size_t capacity = 0;
	*text = NULL;
	*size = 0;
	D2V_TRY(d2v_codec_tokens_view(record, &tokens, err));
	D2V_TRY(d2v_token_text_open(&tokenizer, dataset, err));
	d2v_status status = d2v_token_text_append(
		tokenizer, &tokens, 0, tokens.count < max_tokens ? tokens.count : max_tokens, text, &capacity, size, err);
	d2v_token_text_close(tokenizer);
	if (status != D2V_OK) {
		d2v_free(*text);
		*text = NULL;
	}
	return status;
}

static d2v_status spectrogram_file(d2v_payload_file *file, const d2v_record *record, d2v_error *err) {
	shard_picture picture;
	*file = (d2v_payload_file){ 0 };
	D2V_TRY(shard_spectrogram_of_record(record, SPECTROGRAM_WIDTH, SPECTROGRAM_HEIGHT, &picture, err));
	d2v_status status = shard_picture_png(&picture, &file->owned, &file->size, err);
	shard_picture_release(&picture);
	file->bytes = file->owned;
	return status;
}

static d2v_status text_file(d2v_payload_file *file, const char *dataset, const d2v_record *record, d2v_error *err) {
	char *text;
	*file = (d2v_payload_file){ 0 };
	D2V_TRY(shard_content_text(dataset, record, UINT64_MAX, &text, &file->size, err));
	file->bytes = file->owned = text;
	return D2V_OK;
}

static bool is_sound(const d2v_record *record) {
	return record->codec == D2V_CODEC_PCM16 || record->codec == D2V_CODEC_FLAC;
}

static bool is_text(const d2v_record *record) {
	return record->codec == D2V_CODEC_TOK16 || record->codec == D2V_CODEC_TOK32;
}

// What shards/payload_file.h knows; its error says what that is, and here what else there is.
static d2v_status payload_file(d2v_payload_file *file, const d2v_record *record, const char *ending, d2v_error *err) {
	d2v_status status = d2v_payload_file_make(file, record, ending, err);
	if (status == D2V_INVALID && is_sound(record))
		return d2v_error_suffix(err, status, ", and png for the spectrogram");
	if (status == D2V_INVALID && is_text(record))
		return d2v_error_suffix(err, status, ", and txt for the text");
	return status;
}

d2v_status shard_content_write(
	const char *dataset, const d2v_record *record, const char *path, bool force, size_t *size, d2v_error *err) {
	d2v_payload_file file;
	const char *dot = strrchr(d2v_path_name(path), '.');
	if (!force && d2v_file_exists(path))
		return d2v_fail(err, D2V_EXISTS, "%s: is there already; --force replaces it", path);
	if (!dot)
		return d2v_fail(err, D2V_INVALID, "--out %s: has no ending; it says what to write: x.%s, for example", path,
			is_text(record) ? "txt" : d2v_payload_file_ending(record));
	if (is_sound(record) && strcasecmp(dot, ".png") == 0)
		D2V_TRY(spectrogram_file(&file, record, err));
	else if (is_text(record) && strcasecmp(dot, ".txt") == 0)
		D2V_TRY(text_file(&file, dataset, record, err));
	else
		D2V_TRY(payload_file(&file, record, dot + 1, err));
	d2v_status status = d2v_file_replace(path, file.bytes, file.size, err);
	*size = file.size;
	d2v_payload_file_release(&file);
	return status;
}
