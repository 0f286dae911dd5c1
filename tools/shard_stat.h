// `d2v-shard stat`: a row for that program's table.
#ifndef D2V_TOOLS_SHARD_STAT_H
#define D2V_TOOLS_SHARD_STAT_H

#include "base/options.h"

extern const d2v_command shard_stat_command;
int shard_stat_run(const d2v_command *command, int argc, char **argv);

#endif
