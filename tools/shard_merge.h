// `d2v-shard merge`: a row for that program's table.
#ifndef D2V_TOOLS_SHARD_MERGE_H
#define D2V_TOOLS_SHARD_MERGE_H

#include "base/options.h"

extern const d2v_command shard_merge_command;
int shard_merge_run(const d2v_command *command, int argc, char **argv);

#endif
