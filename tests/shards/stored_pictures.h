// The pictures beside this file and what is known of them: pixels.tsv and resized.tsv.
#ifndef D2V_TESTS_SHARDS_STORED_PICTURES_H
#define D2V_TESTS_SHARDS_STORED_PICTURES_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define STORED_PICTURES "tests/shards/pictures/"

// Calls use for every line that is no comment, with its fields (tab-separated, at most 4).
d2v_status stored_lines(const char *table, void (*use)(void *context, char **fields), void *context, d2v_error *err);
// The bytes of a picture; d2v_free.
d2v_status stored_read(const char *file, void **bytes, size_t *size, d2v_error *err);

#endif
