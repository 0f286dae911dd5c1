// `d2v-shard export`: a row for that program's table.
#ifndef D2V_TOOLS_SHARD_EXPORT_H
#define D2V_TOOLS_SHARD_EXPORT_H

#include "base/options.h"

extern const d2v_command shard_export_command;
int shard_export_run(const d2v_command *command, int argc, char **argv);

#endif
