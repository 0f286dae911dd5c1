// Rows of option tables (base/options.h) that several programs have, so that an option is written the same everywhere.
// `where` takes the value; `says` is the help.
#ifndef D2V_TOOLS_OPTION_ROWS_H
#define D2V_TOOLS_OPTION_ROWS_H

#include "base/options.h"
#include "base/parallel.h"

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
// Threads that work: one a processor, if none are given (d2v_option_jobs).
#define D2V_JOBS_MAX 256
#define D2V_ROW_JOBS(where, says) \
	{ \
		.name = "jobs", .letter = 'j', .kind = D2V_OPTION_INT, .into = &(where), .min = 1, .max = D2V_JOBS_MAX, \
		.value = "N", .help = says \
	}
static inline int d2v_option_jobs(int64_t given) {
	int processors = d2v_parallel_processors();
	return given ? (int)given : processors > D2V_JOBS_MAX ? D2V_JOBS_MAX : processors;
}
// Where what is made goes; is: "DIR", "FILE".
#define D2V_ROW_OUT(where, is, says) \
	{ .name = "out", .letter = 'o', .kind = D2V_OPTION_TEXT, .into = &(where), .value = is, .help = says }
// Which of the records, in order.
#define D2V_ROW_START(where, says) D2V_ROW_COUNT("start", 0, where, says)
#define D2V_ROW_LIMIT(where, says) D2V_ROW_COUNT("limit", 'n', where, says)
#define D2V_ROW_SEED(where, says) D2V_ROW_COUNT("seed", 0, where, says)
#define D2V_ROW_COUNT(is, twin, where, says) \
	{ \
		.name = is, .letter = twin, .kind = D2V_OPTION_INT, .into = &(where), .min = 0, .max = 9e15, .value = "N", \
		.help = says \
	}
#define D2V_ROW_QUIET(where, says) \
	{ .name = "quiet", .letter = 'q', .kind = D2V_OPTION_FLAG, .into = &(where), .help = says }
#define D2V_ROW_JSON(where, says) \
	{ .name = "json", .kind = D2V_OPTION_FLAG, .into = &(where), .help = says }

#endif
