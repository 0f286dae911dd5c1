// Command-line options as a table: one row makes parsing, bounds, default, --help and the man page, so help cannot drift
// from behaviour.
//
//     static d2v_option rows[] = {
//         { .name = "jobs", .letter = 'j', .kind = D2V_OPTION_INT, .into = &jobs, .min = 1, .max = 256,
//           .value = "N", .help = "decode with N threads (default: one per core)" },
//         { 0 } };
//     static const d2v_command command = { .program = "d2v-ingest", .name = "librispeech", .operands = "--out DIR [SOURCE...]", ... };
//
// GNU conventions: --name=value, --name value, -j4, -j 4, bundled flags, "--" ends options, options and operands may mix.
// `--help` (and `-h`, unless a row takes the letter) is always there. "--workers 4x" is an error. Unknown options name the nearest known one.
#ifndef D2V_BASE_OPTIONS_H
#define D2V_BASE_OPTIONS_H

#include "base/error.h"

#include <stdint.h>
#include <stdio.h>

typedef enum d2v_option_kind {
	D2V_OPTION_FLAG,   // bool *
	D2V_OPTION_INT,    // int64_t *, within [min, max]
	D2V_OPTION_SIZE,   // uint64_t *, bytes with optional K, M, G, T (powers of 1024), within [min, max]
	D2V_OPTION_REAL,   // double *, within [min, max]
	D2V_OPTION_TEXT,   // const char **, borrowed from argv
	D2V_OPTION_LIST,   // d2v_option_list *: may be given several times, and separated by commas
	D2V_OPTION_CHOICE, // int *: index into `choices` ("a|b|c")
} d2v_option_kind;

typedef struct d2v_option_list {
	const char *const *items; // owned by the parse (d2v_options_release)
	size_t count;
} d2v_option_list;

typedef struct d2v_option {
	const char *name; // long name, without --
	char letter;      // short twin or 0
	d2v_option_kind kind;
	void *into; // its value before parsing is the default
	double min, max; // both 0: no bounds
	const char *choices;
	const char *value; // placeholder in help: "N", "DIR"
	const char *help;  // one sentence; what the default is
} d2v_option;

typedef struct d2v_command {
	const char *program;  // "d2v-shard"
	const char *name;     // subcommand, NULL when there is none
	const char *operands; // "DATASET [RECORD]"
	const char *summary;  // one line
	const char *detail;   // paragraphs, may be NULL
	const char *examples; // lines "command\n    what it does"
	d2v_option *options;  // ends with a row whose name is NULL; may be NULL
	int operands_min, operands_max; // -1: any number
} d2v_command;

typedef struct d2v_operands {
	const char **items; // borrowed from argv; the array is owned by the parse
	int count;
	bool help; // --help was given and printed to stdout: the caller exits 0
	void *owned;
} d2v_operands;

// argv[0] is skipped (program or subcommand name). D2V_INVALID with a message that ends in how to get help.
d2v_status d2v_options_parse(const d2v_command *command, int argc, char **argv, d2v_operands *operands, d2v_error *err);
void d2v_options_release(d2v_operands *operands);
void d2v_options_print_help(const d2v_command *command, FILE *out);

// A program with subcommands: finds argv[1] in the table, prints the overview for --help or nothing, names the nearest one
// for an unknown one. The table ends with a row whose command is NULL. Returns the process's exit code. Also answers `--version` and `--man` (roff of everything, from the same tables).
typedef struct d2v_subcommand {
	const d2v_command *command;
	int (*run)(const d2v_command *command, int argc, char **argv);
} d2v_subcommand;
int d2v_options_dispatch(const char *program, const char *summary, const d2v_subcommand *table, int argc, char **argv);
// What a command does from its first to its last: parses, runs unless help was asked for, flushes stdout (a full disk is an
// error too), reports. Of a program without subcommands it also answers --version and --man. Returns the process's exit code.
int d2v_options_run(const d2v_command *command, int argc, char **argv,
	d2v_status (*run)(const d2v_operands *operands, d2v_error *err));
void d2v_options_print_man(const char *program, const char *summary, const d2v_command *const *commands, FILE *out); // ends with NULL

// The candidate (NULL-ended list) nearest to word by edit distance, or NULL when none is near. For "did you mean".
const char *d2v_options_nearest(const char *word, const char *const *candidates);

// Prints err as "PROGRAM: error: TEXT" on stderr and returns the exit code of its status.
int d2v_options_report(const char *program, const d2v_error *err);

#endif
