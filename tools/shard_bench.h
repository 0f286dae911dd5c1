// `d2v-shard bench`: a row for that program's table.
#ifndef D2V_TOOLS_SHARD_BENCH_H
#define D2V_TOOLS_SHARD_BENCH_H

#include "base/options.h"

extern const d2v_command shard_bench_command;
int shard_bench_run(const d2v_command *command, int argc, char **argv);

#endif
