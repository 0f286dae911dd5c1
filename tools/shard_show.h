// `d2v-shard show`: a row for that program's table.
#ifndef D2V_TOOLS_SHARD_SHOW_H
#define D2V_TOOLS_SHARD_SHOW_H

#include "base/options.h"

extern const d2v_command shard_show_command;
int shard_show_run(const d2v_command *command, int argc, char **argv);

#endif
