#include "base/memory.h"
#include "base/options.h"

#include "tests/base/scratch.h"

#include <stdlib.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
	bool json, quiet;
	int64_t jobs, any;
	uint64_t size;
	double rate;
	const char *out;
	d2v_option_list splits;
	int store;
} values;

static d2v_option rows[] = {
	{ .name = "json", .kind = D2V_OPTION_FLAG, .into = &values.json, .help = "print JSON" },
	{ .name = "quiet", .letter = 'q', .kind = D2V_OPTION_FLAG, .into = &values.quiet, .help = "say nothing" },
	{ .name = "jobs",
		.letter = 'j',
		.kind = D2V_OPTION_INT,
		.into = &values.jobs,
		.min = 1,
		.max = 256,
		.value = "N",
		.help = "decode with N threads, which is a sentence long enough to be wrapped onto a second line" },
	{ .name = "any", .kind = D2V_OPTION_INT, .into = &values.any, .help = "any integer" },
	{ .name = "shard-size",
		.kind = D2V_OPTION_SIZE,
		.into = &values.size,
		.min = 1024,
		.max = 0x1p50,
		.help = "bytes" },
	{ .name = "rate", .kind = D2V_OPTION_REAL, .into = &values.rate, .min = 0, .max = 1, .help = "a share" },
	{ .name = "out", .letter = 'o', .kind = D2V_OPTION_TEXT, .into = &values.out, .value = "DIR", .help = "where to" },
	{ .name = "split", .letter = 's', .kind = D2V_OPTION_LIST, .into = &values.splits, .help = "which ones" },
	{ .name = "store", .kind = D2V_OPTION_CHOICE, .into = &values.store, .choices = "pcm16|flac|jpeg", .help = "how" },
	{ 0 },
};

static const d2v_command command = {
	.program = "d2v-test",
	.name = "try",
	.operands = "SOURCE [MORE...]",
	.summary = "Try options.",
	.detail = "A paragraph that is quite long, so that it has to be wrapped at the eightieth column of the "
			  "screen.\n\nAnother.",
	.examples = "d2v-test try -j4 x\n    with four threads",
	.options = rows,
	.operands_min = 1,
	.operands_max = 3,
};

#define ARGUMENTS_MAX 32

// Splits a line at its blanks and parses it, "try" being argv[0].
static d2v_status parse_line(const char *line, d2v_operands *operands, d2v_error *err) {
	static char copy[512];
	char *argv[ARGUMENTS_MAX], *rest = copy;
	static char name[] = "try";
	int argc = 1;
	argv[0] = name;
	snprintf(copy, sizeof copy, "%s", line);
	for (char *word; argc < ARGUMENTS_MAX && (word = strsep(&rest, " "));)
		argv[argc++] = word;
	memset(&values, 0, sizeof values);
	return d2v_options_parse(&command, argc, argv, operands, err);
}

static void test_all_kinds(void **state) {
	(void)state;
	static const char *const lines[] = {
		"--json -q --jobs=12 --any=-7 --shard-size=1.5M --rate=0.25 --out=dir -s a,b --split=c --store=flac x y",
		"x --json -qj12 --any -7 --shard-size 1536KiB y --rate 2.5e-1 -odir --split a -s b,c --store flac",
		"--shard-size 1572864 -j 12 -q -o dir --any=-7 --rate .25 -sa -sb -sc --store=flac --json -- x y",
	};
	for (int i = 0; i < 3; i++) {
		d2v_error err;
		d2v_operands operands;
		assert_ok(parse_line(lines[i], &operands, &err));
		assert_true(values.json && values.quiet);
		assert_int_equal(values.jobs, 12);
		assert_int_equal(values.any, -7);
		assert_int_equal(values.size, 1572864);
		assert_true(values.rate == 0.25);
		assert_string_equal(values.out, "dir");
		assert_int_equal(values.splits.count, 3);
		for (int j = 0; j < 3; j++)
			assert_int_equal(values.splits.items[j][0], 'a' + j);
		assert_int_equal(values.store, 1);
		assert_int_equal(operands.count, 2);
		assert_string_equal(operands.items[0], "x");
		assert_string_equal(operands.items[1], "y");
		assert_false(operands.help);
		d2v_options_release(&operands);
		assert_int_equal(values.splits.count, 0);
	}
}

static void test_operands(void **state) {
	(void)state;
	d2v_error err;
	d2v_operands operands;
	assert_ok(parse_line("- -- --json -x", &operands, &err));
	assert_int_equal(operands.count, 3);
	assert_string_equal(operands.items[0], "-");
	assert_string_equal(operands.items[1], "--json");
	assert_false(values.json);
	d2v_options_release(&operands);
}

static void test_wrong_usage(void **state) {
	(void)state;
	static const char *const cases[][2] = {
		{ "--jobs=4x x", "--jobs: expected an integer, found '4x'" },
		{ "--jobs= x", "--jobs: expected an integer, found ''" },
		{ "--jobs=0 x", "an integer from 1 to 256" },
		{ "--jobs=257 x", "an integer from 1 to 256" },
		{ "--jobs=99999999999999999999 x", "an integer from 1 to 256" },
		{ "--any=99999999999999999999 x", "an integer of 64 bits" },
		{ "--any=1.5 x", "an integer" },
		{ "--any=0x10 x", "an integer" },
		{ "--jobs", "--jobs needs a value" },
		{ "x -j", "-j needs a value" },
		{ "--json=1 x", "--json takes no value" },
		{ "--jsno x", "unknown option --jsno (did you mean --json?)" },
		{ "--hlep x", "(did you mean --help?)" },
		{ "--frobnicate x", "unknown option --frobnicate;" },
		{ "-z x", "unknown option -z" },
		{ "-qz x", "unknown option -z" },
		{ "--shard-size=12Q x", "a size such as" },
		{ "--shard-size=-5 x", "a size such as" },
		{ "--shard-size=1e9 x", "a size such as" },
		{ "--shard-size=100 x", "a size from 1024" },
		{ "--shard-size=99999T x", "a size from 1024" },
		{ "--rate=nan x", "a number" },
		{ "--rate=inf x", "a number" },
		{ "--rate=1.1 x", "a number from 0 to 1" },
		{ "--rate=-0.1 x", "a number from 0 to 1" },
		{ "--rate=0.5x x", "a number" },
		{ "--store=fla x", "one of pcm16|flac|jpeg" },
		{ "--store= x", "one of pcm16|flac|jpeg" },
		{ "--split=a,,b x", "names separated by commas" },
		{ "--split= x", "names separated by commas" },
		{ "--json", "something is missing: expected SOURCE" },
		{ "a b c d", "'d' is too much" },
	};
	long before = d2v_memory_live();
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		d2v_error err;
		d2v_operands operands;
		if (parse_line(cases[i][0], &operands, &err) != D2V_INVALID)
			fail_msg("'%s' was taken", cases[i][0]);
		if (!strstr(err.text, cases[i][1]) || !strstr(err.text, "; try 'd2v-test try --help'"))
			fail_msg("'%s' gives '%s'", cases[i][0], err.text);
	}
	assert_int_equal(d2v_memory_live(), before);
}

static void test_memory_walk(void **state) {
	(void)state;
	long before = d2v_memory_live();
	for (long n = 0;; n++) {
		d2v_error err;
		d2v_operands operands;
		d2v_memory_fail_after(n);
		d2v_status status = parse_line("x -s a,b -s c -s d,e,f,g", &operands, &err);
		d2v_memory_fail_after(-1);
		if (status == D2V_OK) {
			assert_int_equal(values.splits.count, 7);
			d2v_options_release(&operands);
			break;
		}
		assert_int_equal(status, D2V_NO_MEMORY);
		assert_int_equal(d2v_memory_live(), before);
		assert_true(n < 50);
	}
	assert_int_equal(d2v_memory_live(), before);
}

static char *printed_help(void) {
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	d2v_options_print_help(&command, out);
	fclose(out);
	return text;
}

static void test_help_says_what_the_table_says(void **state) {
	(void)state;
	char *text = printed_help();
	for (const d2v_option *row = rows; row->name; row++) {
		char name[64];
		snprintf(name, sizeof name, "--%s", row->name);
		assert_non_null(strstr(text, name));
	}
	assert_int_equal(strncmp(text, "Usage: d2v-test try [OPTION...] SOURCE [MORE...]\n", 49), 0);
	assert_non_null(strstr(text, "\n  -j, --jobs=N"));
	assert_non_null(strstr(text, "[1..256]"));
	assert_non_null(strstr(text, "pcm16|flac|jpeg"));
	assert_non_null(strstr(text, "-h, --help"));
	assert_non_null(strstr(text, "\nExamples:\n  d2v-test try -j4 x\n      with four threads\n"));
	for (const char *line = text; *line;) {
		size_t length = strcspn(line, "\n");
		assert_true(length <= 80);
		assert_true(!length || line[length - 1] != ' ');
		line += length + (line[length] == '\n');
	}
	free(text);
}

static void test_man_page(void **state) {
	(void)state;
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	d2v_options_print_man("d2v-test", "tries .things\\", (const d2v_command *const[]){ &command, NULL }, out);
	fclose(out);
	assert_int_equal(strncmp(text, ".TH \"D2V-TEST\" 1 ", 17), 0);
	static const char *const parts[] = { ".SH NAME\nd2v\\-test \\- tries .things\\e\n", ".SH SYNOPSIS\n", ".SS try\n",
		"\\fB\\-j\\fR, \\fB\\-\\-jobs\\fR=\\fIN\\fR\n", "\\fB\\-\\-shard\\-size\\fR", ".SH EXIT STATUS\n" };
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		if (!strstr(text, parts[i]))
			fail_msg("'%s' is not in:\n%s", parts[i], text);
	free(text);
}

static void test_nearest(void **state) {
	(void)state;
	static const char *const names[] = { "verify", "export", "stat", "show", "ls", NULL };
	static const char *const cases[][2] = { { "verfiy", "verify" }, { "exprot", "export" }, { "stats", "stat" },
		{ "sl", "ls" }, { "ver", "verify" }, { "frobnicate", NULL }, { "", NULL } };
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *found = d2v_options_nearest(cases[i][0], names);
		assert_string_equal(found ? found : "nothing", cases[i][1] ? cases[i][1] : "nothing");
	}
	char endless[1000];
	memset(endless, 'v', sizeof endless - 1);
	endless[sizeof endless - 1] = 0;
	assert_null(d2v_options_nearest(endless, names));
}

static int run_try(const d2v_command *given, int argc, char **argv) {
	assert_ptr_equal(given, &command);
	assert_string_equal(argv[0], "try");
	return 40 + argc;
}

static void test_dispatch(void **state) {
	(void)state;
	static const d2v_subcommand table[] = { { &command, run_try }, { 0 } };
	static char program[] = "d2v-test", known[] = "try", unknown[] = "tyr", operand[] = "x";
	assert_int_equal(
		d2v_options_dispatch("d2v-test", "Tests.", table, 3, (char *[]){ program, known, operand, NULL }), 42);
	assert_int_equal(d2v_options_dispatch("d2v-test", "Tests.", table, 2, (char *[]){ program, unknown, NULL }), 2);
	assert_int_equal(d2v_options_dispatch("d2v-test", "Tests.", table, 1, (char *[]){ program, NULL }), 2);
	static char help[] = "--help", version[] = "--version", man[] = "--man";
	char *const asked[] = { help, version, man };
	for (int i = 0; i < 3; i++) {
		char *arguments[] = { program, asked[i], NULL };
		assert_int_equal(d2v_options_dispatch("d2v-test", "Tests.", table, 2, arguments), 0);
		pid_t child = fork();
		if (child == 0) {
			if (!freopen("/dev/full", "w", stdout) || !freopen("/dev/null", "w", stderr))
				_exit(77);
			_exit(d2v_options_dispatch("d2v-test", "Tests.", table, 2, arguments));
		}
		int status;
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 1);
	}
	d2v_error err;
	d2v_operands operands;
	assert_ok(parse_line("--help", &operands, &err));
	assert_true(operands.help);
	d2v_options_release(&operands);
	d2v_fail(&err, D2V_CORRUPT, "a digest differs");
	assert_int_equal(d2v_options_report("d2v-test", &err), 3);
}

static int runs;
static d2v_status count_run(const d2v_operands *operands, d2v_error *err) {
	runs++;
	if (operands->count == 1 && strcmp(operands->items[0], "broken") == 0)
		return d2v_fail(err, D2V_CORRUPT, "a digest differs");
	return D2V_OK;
}

static int run_of(char *word) {
	static char program[] = "try";
	return d2v_options_run(&command, 2, (char *[]){ program, word, NULL }, count_run);
}

static d2v_status open_one(const d2v_operands *operands, d2v_error *err) {
	(void)operands;
	int file = open("/dev/null", O_RDONLY);
	return file > STDERR_FILENO ? D2V_OK : d2v_fail(err, D2V_CORRUPT, "a file has the number %d", file);
}

// With standard streams closed a file of ours must not get their numbers, and printing must fail as it would.
static void test_closed_streams(void **state) {
	(void)state;
	static char program[] = "try", help[] = "--help", operand[] = "x";
	for (int asked = 0; asked < 2; asked++) {
		fflush(stdout); // cmocka's own words are not the child's
		pid_t child = fork();
		if (child == 0) {
			for (int i = 0; i <= STDERR_FILENO; i++)
				close(i);
			_exit(d2v_options_run(&command, 2, (char *[]){ program, asked ? help : operand, NULL }, open_one));
		}
		int status;
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), asked);
	}
}

static void test_run(void **state) {
	(void)state;
	static char help[] = "--help", nonsense[] = "--nonsense", whole[] = "whole", broken[] = "broken";
	assert_int_equal(run_of(help), 0);
	assert_int_equal(run_of(nonsense), 2);
	assert_int_equal(runs, 0);
	assert_int_equal(run_of(whole), 0);
	assert_int_equal(runs, 1);
	assert_int_equal(run_of(broken), 3);
	assert_int_equal(runs, 2);
	// A program without subcommands says these itself.
	d2v_command alone = command;
	static char program[] = "try", version[] = "--version", man[] = "--man";
	alone.name = NULL;
	assert_int_equal(d2v_options_run(&alone, 2, (char *[]){ program, version, NULL }, count_run), 0);
	assert_int_equal(d2v_options_run(&alone, 2, (char *[]){ program, man, NULL }, count_run), 0);
	assert_int_equal(runs, 2);
	assert_int_equal(run_of(version), 2);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_kinds),
		cmocka_unit_test(test_operands),
		cmocka_unit_test(test_wrong_usage),
		cmocka_unit_test(test_memory_walk),
		cmocka_unit_test(test_help_says_what_the_table_says),
		cmocka_unit_test(test_man_page),
		cmocka_unit_test(test_nearest),
		cmocka_unit_test(test_dispatch),
		cmocka_unit_test(test_run),
		cmocka_unit_test(test_closed_streams),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
