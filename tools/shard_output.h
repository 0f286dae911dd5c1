// What the subcommands of d2v-shard share when they print: facts on stdout, all of them or an error.
#ifndef D2V_TOOLS_SHARD_OUTPUT_H
#define D2V_TOOLS_SHARD_OUTPUT_H

#include "base/error.h"
#include "shards/dataset.h"

#include <jansson.h>

#define SHARD_OUTPUT_LENGTH 48

// Steals facts (NULL: out of memory) and prints them on stdout, with sorted keys, ending in a newline.
d2v_status shard_output_json(json_t *facts, d2v_error *err);
// One line of JSON without an end of line: for lists that are too long to be kept in memory.
d2v_status shard_output_json_line(json_t *facts, d2v_error *err);

// Text of unknown origin for a terminal: control characters and what is no UTF-8 become \xNN; cut to `columns`
// characters, the last of which is then an ellipsis. Written to stdout.
void shard_output_text(const char *text, size_t size, size_t columns);
// The same as a JSON string, uncut; the caller owns it.
json_t *shard_output_json_text(const char *text, size_t size);

// "12.35 s", "500x375", "32,768 tokens": the length of a record in the units of its modality. Returns text.
const char *shard_output_length(
	const d2v_record *record, d2v_modality modality, uint32_t rate, char text[SHARD_OUTPUT_LENGTH]);
// Sums: "5.39 h", "1,234 pixels", "12,345 tokens". Returns text.
const char *shard_output_total(uint64_t units, d2v_modality modality, uint32_t rate, char text[SHARD_OUTPUT_LENGTH]);

#endif
