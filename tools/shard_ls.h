// `d2v-shard ls`: a row for that program's table.
#ifndef D2V_TOOLS_SHARD_LS_H
#define D2V_TOOLS_SHARD_LS_H

#include "base/options.h"

extern const d2v_command shard_ls_command;
int shard_ls_run(const d2v_command *command, int argc, char **argv);

#endif
