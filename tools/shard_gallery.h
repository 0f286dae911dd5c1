// `d2v-shard gallery`: a row for that program's table.
#ifndef D2V_TOOLS_SHARD_GALLERY_H
#define D2V_TOOLS_SHARD_GALLERY_H

#include "base/options.h"

extern const d2v_command shard_gallery_command;
int shard_gallery_run(const d2v_command *command, int argc, char **argv);

#endif
