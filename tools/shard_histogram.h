// The length histogram of a split's statistics (shards/statistics.h), drawn in text.
#ifndef D2V_TOOLS_SHARD_HISTOGRAM_H
#define D2V_TOOLS_SHARD_HISTOGRAM_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

// statistics: as the manifest has them; what is not there is not drawn. unicode: bars of eighths of a character.
void shard_histogram_print(const json_t *statistics, bool unicode, FILE *out);
// True when the user's locale says UTF-8.
bool shard_histogram_unicode(void);

#endif
