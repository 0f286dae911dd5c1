// `d2v-shard verify`: a row for that program's table.
#ifndef D2V_TOOLS_SHARD_VERIFY_H
#define D2V_TOOLS_SHARD_VERIFY_H

#include "base/options.h"

extern const d2v_command shard_verify_command;
int shard_verify_run(const d2v_command *command, int argc, char **argv);

#endif
