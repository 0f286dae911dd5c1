// What is in a record, for people: a file of it, and of a block of tokens the text.
#ifndef D2V_TOOLS_SHARD_CONTENT_H
#define D2V_TOOLS_SHARD_CONTENT_H

#include "shards/record.h"

#include <stddef.h>

// The text of at most max_tokens tokens of the block, through the tokenizer of the data set. *text: d2v_free; it is not
// NUL-terminated and need not be UTF-8.
d2v_status shard_content_text(
	const char *dataset, const d2v_record *record, uint64_t max_tokens, char **text, size_t *size, d2v_error *err);
// Writes `path`, whose ending says what: what shards/payload_file.h knows, and "png" of sound (its spectrogram) and
// "txt" of a block of text. *size: bytes written. D2V_EXISTS when it is there and not forced.
d2v_status shard_content_write(
	const char *dataset, const d2v_record *record, const char *path, bool force, size_t *size, d2v_error *err);

#endif
