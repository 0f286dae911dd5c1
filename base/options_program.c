// The part of base/options.h that a main file is made of: subcommands, --version and --man, "did you mean", the last
// words.
#include "base/options.h"

#include "base/signals.h"
#include "base/version.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define WORD_MAX 64
#define COMMANDS_MAX 64

// Insertions, deletions, changes and swaps of neighbours that make b of a (optimal string alignment).
static size_t edit_distance(const char *a, const char *b) {
	size_t rows[3][WORD_MAX + 1];
	size_t length_a = strlen(a), length_b = strlen(b);
	if (length_a > WORD_MAX || length_b > WORD_MAX)
		return SIZE_MAX;
	size_t *before = rows[0], *last = rows[1], *row = rows[2];
	for (size_t j = 0; j <= length_b; j++)
		last[j] = before[j] = j;
	for (size_t i = 1; i <= length_a; i++) {
		row[0] = i;
		for (size_t j = 1; j <= length_b; j++) {
			size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);
			best = last[j] + 1 < best ? last[j] + 1 : best;
			best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best)
				best = before[j - 2] + 1;
			row[j] = best;
		}
		size_t *spare = before;
		before = last;
		last = row;
		row = spare;
	}
	return last[length_b];
}

const char *d2v_options_nearest(const char *word, const char *const *candidates) {
	const char *nearest = NULL;
	size_t length = strlen(word), best = SIZE_MAX;
	for (; *candidates; candidates++) {
		size_t longer = strlen(*candidates) > length ? strlen(*candidates) : length;
		size_t distance = edit_distance(word, *candidates);
		size_t limit = longer < 4 ? 1 : longer / 3;
		if (length >= 3 && strncmp(*candidates, word, length) == 0)
			distance = 1; // an abbreviation
		if (distance <= limit && distance < best) {
			best = distance;
			nearest = *candidates;
		}
	}
	return nearest;
}

int d2v_options_report(const char *program, const d2v_error *err) {
	if (err->status != D2V_OK)
		fprintf(stderr, "%s: %s%s\n", program,
			err->status == D2V_INTERRUPTED ? "" : "error: ", err->text[0] ? err->text : d2v_status_name(err->status));
	return d2v_status_exit_code(err->status);
}

static void print_version(const char *program) {
	printf("%s (d2v) %s\n", program, D2V_VERSION);
}

// Of a program without subcommands. True: answered.
static bool answer_common(const d2v_command *command, int argc, char **argv) {
	if (command->name || argc < 2)
		return false;
	if (strcmp(argv[1], "--version") == 0) {
		print_version(command->program);
		return true;
	}
	if (strcmp(argv[1], "--man") == 0) {
		d2v_options_print_man(
			command->program, command->summary, (const d2v_command *const[]){ command, NULL }, stdout);
		return true;
	}
	return false;
}

// What was printed is there, or it is an error: on a full disk, for example.
static int finish(const char *program, d2v_status status, d2v_error *err) {
	bool failed = fflush(stdout) != 0 || ferror(stdout);
	if (failed && status == D2V_OK)
		status = d2v_fail_errno(err, "what was asked for cannot be written to standard output");
	return status == D2V_OK ? 0 : d2v_options_report(program, err);
}

// Standard streams that the caller closed would have their numbers taken by the next files that are opened, shards and
// checkpoints among them, and what is printed would go there. They are held in such a way that using them still fails.
static void hold_standard_streams(void) {
	for (int number = 0; number <= STDERR_FILENO; number++)
		if (fcntl(number, F_GETFD) < 0 && open("/dev/null", number == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0)
			return;
}

int d2v_options_run(const d2v_command *command, int argc, char **argv,
	d2v_status (*run)(const d2v_operands *operands, d2v_error *err)) {
	d2v_operands operands = { 0 };
	d2v_error err = { 0 };
	hold_standard_streams();
	d2v_signals_explain();
	if (answer_common(command, argc, argv))
		return finish(command->program, D2V_OK, &err);
	d2v_status status = d2v_options_parse(command, argc, argv, &operands, &err);
	if (status == D2V_OK && !operands.help)
		status = run(&operands, &err);
	d2v_options_release(&operands);
	return finish(command->program, status, &err);
}

static void print_overview(const char *program, const char *summary, const d2v_subcommand *table, FILE *out) {
	size_t column = 0;
	for (const d2v_subcommand *row = table; row->command; row++)
		column = strlen(row->command->name) > column ? strlen(row->command->name) : column;
	fprintf(out, "Usage: %s COMMAND [OPTION...]\n\n%s\n\nCommands:\n", program, summary);
	for (const d2v_subcommand *row = table; row->command; row++)
		fprintf(out, "  %-*s  %s\n", (int)column, row->command->name, row->command->summary);
	fprintf(out, "\n'%s COMMAND --help' says more; --version and --man are understood as well.\n", program);
}

static void print_manual(const char *program, const char *summary, const d2v_subcommand *table) {
	const d2v_command *commands[COMMANDS_MAX + 1];
	size_t count = 0;
	for (; table[count].command; count++) {
		D2V_ASSERT(count < COMMANDS_MAX);
		commands[count] = table[count].command;
	}
	commands[count] = NULL;
	d2v_options_print_man(program, summary, commands, stdout);
}

static int report_unknown(const char *program, const d2v_subcommand *table, const char *word) {
	const char *names[COMMANDS_MAX + 1];
	size_t count = 0;
	for (; table[count].command && count < COMMANDS_MAX; count++)
		names[count] = table[count].command->name;
	names[count] = NULL;
	const char *nearest = d2v_options_nearest(word, names);
	d2v_error err;
	if (nearest)
		d2v_fail(
			&err, D2V_INVALID, "unknown command '%.60s' (did you mean '%s'?); try '%s --help'", word, nearest, program);
	else
		d2v_fail(&err, D2V_INVALID, "unknown command '%.60s'; try '%s --help'", word, program);
	return d2v_options_report(program, &err);
}

// True: answered.
static bool answer_overview(const char *program, const char *summary, const d2v_subcommand *table, const char *word) {
	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
		print_overview(program, summary, table, stdout);
	else if (strcmp(word, "--version") == 0)
		print_version(program);
	else if (strcmp(word, "--man") == 0)
		print_manual(program, summary, table);
	else
		return false;
	return true;
}

int d2v_options_dispatch(const char *program, const char *summary, const d2v_subcommand *table, int argc, char **argv) {
	d2v_error err = { 0 };
	if (argc < 2) {
		print_overview(program, summary, table, stderr);
		return d2v_status_exit_code(D2V_INVALID);
	}
	const char *word = argv[1];
	if (answer_overview(program, summary, table, word))
		return finish(program, D2V_OK, &err);
	for (const d2v_subcommand *row = table; row->command; row++)
		if (strcmp(row->command->name, word) == 0)
			return row->run(row->command, argc - 1, argv + 1);
	return report_unknown(program, table, word);
}
