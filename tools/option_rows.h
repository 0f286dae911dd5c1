// Rows of option tables (base/options.h) that several programs have, so that an option is written the same everywhere.
// `where` takes the value; `says` is the help.
#ifndef D2V_TOOLS_OPTION_ROWS_H
#define D2V_TOOLS_OPTION_ROWS_H

#include "base/options.h"

#define D2V_ROW_SPLIT(where, says) \
	{ \
		.name = "split", .letter = 's', .kind = D2V_OPTION_TEXT, .into = &(where), .value = "NAME[,NAME...]", \
		.help = says \
	}
#define D2V_ROW_DEVICE(where, says) \
	{ .name = "device", .letter = 'd', .kind = D2V_OPTION_TEXT, .into = &(where), .value = "NAME", .help = says }
// Compute threads, from `least` up.
#define D2V_ROW_THREADS(where, least, says) \
	{ \
		.name = "threads", .letter = 't', .kind = D2V_OPTION_INT, .into = &(where), .min = least, .max = 1024, \
		.value = "N", .help = says \
	}
// Threads that read.
#define D2V_ROW_WORKERS(where) \
	{ \
		.name = "workers", .letter = 'j', .kind = D2V_OPTION_INT, .into = &(where), .min = 1, .max = 256, \
		.value = "N", .help = "read with N threads (default 1)" \
	}
#define D2V_ROW_JSON(where, says) \
	{ .name = "json", .kind = D2V_OPTION_FLAG, .into = &(where), .help = says }

#endif
