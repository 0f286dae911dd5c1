// `d2v-eval knn` and `d2v-eval probe`: rows for that program's table.
#ifndef D2V_TOOLS_EVAL_CLASSIFY_H
#define D2V_TOOLS_EVAL_CLASSIFY_H

#include "base/options.h"

extern const d2v_command eval_knn_command, eval_probe_command;
int eval_knn_run(const d2v_command *command, int argc, char **argv);
int eval_probe_run(const d2v_command *command, int argc, char **argv);

#endif
