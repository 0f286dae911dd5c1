// What the subcommands of d2v-ingest share: the options that all have, the list of sources, running and the last words.
//
// A subcommand is a file tools/ingest_*.c with a table of options, which begins with rows of its own and ends with the
// common ones, and a function that turns them into a job:
//
//     static d2v_status fill(ingest_job *job, const d2v_operands *operands, d2v_error *err);
//     int ingest_audio(const d2v_command *command, int argc, char **argv) { return ingest_main(command, argc, argv,
//     fill); }
#ifndef D2V_TOOLS_INGEST_PROGRAM_H
#define D2V_TOOLS_INGEST_PROGRAM_H

#include "base/options.h"
#include "ingest/ingest.h"
#include "tools/option_rows.h"

// ---- what the common options are parsed into

typedef struct ingest_common {
	d2v_option_list from;
	const char *out, *split, *max_rejected, *archives;
	int64_t jobs, retries, max_files;
	uint64_t shard_size, max_member, max_download;
	double retry_delay, stall;
	const char *header, *cookie, *token;
	bool keep_archives, json, quiet;
} ingest_common;
extern ingest_common ingest_common_options; // one subcommand a process

// split_help: what --split means to the subcommand.
#define INGEST_SOURCE_ROWS(split_help) \
	{ .name = "from", \
		.letter = 'f', \
		.kind = D2V_OPTION_LIST, \
		.into = &ingest_common_options.from, \
		.value = "SOURCE", \
		.help = "a folder, an archive (tar, also .gz .bz2 .xz .zst; zip), or an http(s) address of one; may be " \
				"repeated; SOURCE#md5=SUM checks it" }, \
		{ .name = "out", \
			.letter = 'o', \
			.kind = D2V_OPTION_TEXT, \
			.into = &ingest_common_options.out, \
			.value = "DIR", \
			.help = "the data set's folder; made when it is not there (required)" }, \
		{ .name = "split", \
			.kind = D2V_OPTION_TEXT, \
			.into = &ingest_common_options.split, \
			.value = "NAME", \
			.help = split_help }, \
		D2V_ROW_JOBS(ingest_common_options.jobs, \
			"decode with N threads (default: one per core); the result does not depend on it")

// How paths tell split and class; `into` has split_by, label_by and classes.
#define INGEST_SORT_ROWS(into_, split_default, label_default) \
	{ .name = "split-by", \
		.kind = D2V_OPTION_TEXT, \
		.into = &into_.split_by, \
		.value = "RULE", \
		.help = "how a path tells its split: folder (one called train, val, test, ...), NAME=REGEX (what matches is " \
				"NAME), REGEX (its first group is the name), or none (default " split_default ")" }, \
		{ .name = "label-by", \
			.kind = D2V_OPTION_TEXT, \
			.into = &into_.label_by, \
			.value = "RULE", \
			.help = "how a path tells its class: folder, REGEX (its first group is the class), NAME=REGEX, or none " \
					"(default " label_default ")" }, \
	{ \
		.name = "classes", .kind = D2V_OPTION_TEXT, .into = &into_.classes, .value = "FILE", \
		.help = "the classes in the order of their labels, one a line: NAME WORDS (default: those found in a first " \
				"pass over the names, in ascending order)" \
	}

#define INGEST_SORT_DETAIL \
	" Labels are places in the list of classes, which the data set's manifest has. Regular expressions are POSIX " \
	"extended ones and are held against the path within the source."

#define INGEST_LIMIT_ROWS \
	{ .name = "shard-size", \
		.kind = D2V_OPTION_SIZE, \
		.into = &ingest_common_options.shard_size, \
		.min = 65536, \
		.max = 0x1p38, \
		.value = "BYTES", \
		.help = "begin another shard after this much (default 1G)" }, \
		{ .name = "max-rejected", \
			.kind = D2V_OPTION_TEXT, \
			.into = &ingest_common_options.max_rejected, \
			.value = "N|P%", \
			.help = "fail when more files than this are damaged or unsafe: a count, or a percentage (default 1%)" }, \
		{ .name = "max-member", \
			.kind = D2V_OPTION_SIZE, \
			.into = &ingest_common_options.max_member, \
			.min = 4096, \
			.max = 0x1p30, \
			.value = "BYTES", \
			.help = "reject files larger than this (default 64M)" }, \
	{ \
		.name = "max-files", .kind = D2V_OPTION_INT, .into = &ingest_common_options.max_files, .min = 1, \
		.max = 0x1p30, .value = "N", \
		.help = "fail when a source has more members (default 2097152); memory grows with it" \
	}

#define INGEST_DOWNLOAD_ROWS \
	{ .name = "keep-archives", \
		.letter = 'k', \
		.kind = D2V_OPTION_FLAG, \
		.into = &ingest_common_options.keep_archives, \
		.help = "download to DIR/.downloads first and keep the archives (default: read them as they come)" }, \
		{ .name = "archives", \
			.kind = D2V_OPTION_TEXT, \
			.into = &ingest_common_options.archives, \
			.value = "DIR", \
			.help = "keep downloaded archives there" }, \
		{ .name = "max-download", \
			.kind = D2V_OPTION_SIZE, \
			.into = &ingest_common_options.max_download, \
			.min = 1, \
			.max = 0x1p50, \
			.value = "BYTES", \
			.help = "refuse larger downloads when their size is not known beforehand (default 64G)" }, \
		{ .name = "retries", \
			.kind = D2V_OPTION_INT, \
			.into = &ingest_common_options.retries, \
			.max = 1000, \
			.value = "N", \
			.help = "connect again after up to N failures in a row (default 8)" }, \
		{ .name = "retry-delay", \
			.kind = D2V_OPTION_REAL, \
			.into = &ingest_common_options.retry_delay, \
			.max = 3600, \
			.value = "S", \
			.help = \
				"wait about S seconds before the first retry, twice as long before each further one (default 1)" }, \
	{ \
		.name = "stall", .kind = D2V_OPTION_REAL, .into = &ingest_common_options.stall, .min = 0.1, .max = 3600, \
		.value = "S", .help = "take a connection for lost after S seconds without a byte (default 60)" \
	}

#define INGEST_LOGIN_ROWS \
	{ .name = "header", \
		.kind = D2V_OPTION_TEXT, \
		.into = &ingest_common_options.header, \
		.value = "NAME: VALUE", \
		.help = \
			"send this header to the server, e.g. a login; @FILE: one a line from a file (default: $D2V_HEADER)" }, \
		{ .name = "cookie", \
			.kind = D2V_OPTION_TEXT, \
			.into = &ingest_common_options.cookie, \
			.value = "NAME=VALUE; ...", \
			.help = "send these cookies of a browser that is logged in; @FILE reads them (default: $D2V_COOKIE)" }, \
	{ \
		.name = "token", .kind = D2V_OPTION_TEXT, .into = &ingest_common_options.token, .value = "TOKEN", \
		.help = "log in with this token (Authorization: Bearer); @FILE reads it (default: $D2V_TOKEN)" \
	}

#define INGEST_LOGIN_DETAIL \
	" A login goes to the servers of the addresses that are given, never to another one that they redirect to, and is " \
	"stored nowhere. What is on the command line other users of the machine may see while the program starts: the " \
	"environment and @FILE hide it."

#define INGEST_OUTPUT_ROWS \
	{ .name = "json", \
		.kind = D2V_OPTION_FLAG, \
		.into = &ingest_common_options.json, \
		.help = "print what was made as JSON" }, \
	{ \
		.name = "quiet", .letter = 'q', .kind = D2V_OPTION_FLAG, .into = &ingest_common_options.quiet, \
		.help = "no progress line" \
	}

#define INGEST_DETAIL \
	"The same command gives the same bytes, whatever the number of jobs. A killed ingest goes on from the last " \
	"published shard when the same command is given again. Files that are damaged or unsafe are left out and listed " \
	"in DIR/SPLIT/rejected.tsv. Nothing is ever unpacked to disk."

// ---- jobs

typedef struct ingest_job {
	d2v_ingest_options options; // sources are filled in when it runs
	d2v_ingest_source *sources;
	size_t source_count, source_capacity;
	char **texts; // owned strings that options and sources point to
	size_t text_count, text_capacity;
	// What options.places and options.classes point to, owned.
	d2v_path_rule *split_rule, *label_rule;
	d2v_val_labels *val_labels;
	d2v_classes classes;
	const char **headers;
	size_t header_capacity;
	// When the data set is complete; NULL: nothing.
	d2v_status (*check)(const d2v_ingest_options *options, d2v_error *err);
} ingest_job;

// The strings of *source are borrowed.
d2v_status ingest_job_add(ingest_job *job, const d2v_ingest_source *source, d2v_error *err);
// A source as people give it: "WHERE" or "WHERE#md5=SUM"; split as in d2v_ingest_source.
d2v_status ingest_job_add_text(ingest_job *job, const char *text, const char *split, d2v_error *err);
// Each of --from and the operands.
d2v_status ingest_job_add_given(ingest_job *job, const d2v_operands *operands, d2v_error *err);
// Keeps the string (d2v_free) as long as the job; also on failure it is taken over.
d2v_status ingest_job_keep(ingest_job *job, char *text, d2v_error *err);

// --split-by and --label-by: NULL or "folder" as they are in `folders`, "none", or a rule.
d2v_status ingest_job_split_by(ingest_job *job, const char *text, bool folders, d2v_error *err);
d2v_status ingest_job_label_by(ingest_job *job, const char *text, bool folders, d2v_error *err);

d2v_status ingest_job_classes(ingest_job *job, const char *path, d2v_error *err); // NULL: none are given

typedef d2v_status ingest_fill(ingest_job *job, const d2v_operands *operands, d2v_error *err);
// Parses, lets `fill` complete a job that has the common options already (it sets layout and sources), runs it, says
// what was made. Returns the exit status.
int ingest_main(const d2v_command *command, int argc, char **argv, ingest_fill *fill);

// ---- the subcommands

extern const d2v_command ingest_librispeech_command, ingest_audio_command, ingest_imagenet_command,
	ingest_images_command, ingest_openwebtext_command, ingest_text_command;
int ingest_librispeech(const d2v_command *command, int argc, char **argv);
int ingest_audio(const d2v_command *command, int argc, char **argv);
int ingest_imagenet(const d2v_command *command, int argc, char **argv);
int ingest_images(const d2v_command *command, int argc, char **argv);
int ingest_openwebtext(const d2v_command *command, int argc, char **argv);
int ingest_text(const d2v_command *command, int argc, char **argv);

#endif
