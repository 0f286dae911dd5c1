#include "base/options.h"

#include "base/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// What a parse owns besides the array of operands: the lists' items and the texts that they were cut from.
typedef struct parse_memory {
	const d2v_command *command;
	void **blocks;
	size_t used, capacity;
} parse_memory;

typedef struct parse_state {
	const d2v_command *command;
	int argc, next; // argv[next] is looked at next
	char **argv;
	d2v_operands *operands;
	parse_memory *memory;
	d2v_error *err;
} parse_state;

static const char *full_name(const d2v_command *command, char text[128]) {
	snprintf(text, 128, "%s%s%s", command->program, command->name ? " " : "", command->name ? command->name : "");
	return text;
}

// Fails with the reason and how to get help.
__attribute__((format(printf, 2, 3))) static d2v_status fail_usage(const parse_state *parse, const char *format, ...) {
	char name[128], reason[512];
	va_list args;
	va_start(args, format);
	vsnprintf(reason, sizeof reason, format, args);
	va_end(args);
	return d2v_fail(parse->err, D2V_INVALID, "%s; try '%s --help'", reason, full_name(parse->command, name));
}

// Keeps block until the release; frees it at once when there is no memory to remember it.
static d2v_status keep(parse_state *parse, void *block) {
	parse_memory *memory = parse->memory;
	d2v_status status =
		d2v_reserve(&memory->blocks, &memory->capacity, memory->used + 1, sizeof *memory->blocks, parse->err);
	if (status != D2V_OK)
		d2v_free(block);
	else
		memory->blocks[memory->used++] = block;
	return status;
}

static d2v_option *option_named(const d2v_command *command, const char *name, size_t length) {
	for (d2v_option *row = command->options; row && row->name; row++)
		if (strncmp(row->name, name, length) == 0 && !row->name[length])
			return row;
	return NULL;
}

static d2v_option *option_lettered(const d2v_command *command, char letter) {
	for (d2v_option *row = command->options; row && row->name; row++)
		if (row->letter == letter)
			return row;
	return NULL;
}

static d2v_status fail_value(const parse_state *parse, const d2v_option *row, const char *text, const char *expected) {
	return fail_usage(parse, "--%s: expected %s, found '%.100s'", row->name, expected, text);
}

static bool within_bounds(const d2v_option *row, double value) {
	if (row->min == 0 && row->max == 0)
		return isfinite(value);
	return value >= row->min && value <= row->max;
}

static d2v_status store_int(const parse_state *parse, const d2v_option *row, const char *text) {
	char *end, expected[96];
	errno = 0;
	long long value = strtoll(text, &end, 10);
	bool number = end != text && !*end && strspn(text, "+-0123456789") == strlen(text);
	if (!number)
		return fail_value(parse, row, text, "an integer");
	if (errno || !within_bounds(row, (double)value)) {
		if (row->min == 0 && row->max == 0)
			snprintf(expected, sizeof expected, "an integer of 64 bits");
		else
			snprintf(expected, sizeof expected, "an integer from %.0f to %.0f", row->min, row->max);
		return fail_value(parse, row, text, expected);
	}
	*(int64_t *)row->into = value;
	return D2V_OK;
}

// "64K", "1.5G", "512MiB": powers of 1024, whatever the suffix's spelling.
static bool parse_size(const char *text, double *bytes) {
	static const char units[] = "KMGT";
	char *end;
	if (!strchr("0123456789", *text) || !*text || strspn(text, "0123456789.") == 0)
		return false;
	size_t digits = strspn(text, "0123456789.");
	*bytes = strtod(text, &end);
	if (end != text + digits)
		return false;
	if (!*end)
		return true;
	const char *unit = strchr(units, *end & ~0x20);
	if (!unit || !*unit)
		return *end == 'B' && !end[1];
	*bytes = ldexp(*bytes, 10 * (int)(unit - units + 1));
	return !end[1] || strcmp(end + 1, "B") == 0 || strcmp(end + 1, "iB") == 0;
}

static d2v_status store_size(const parse_state *parse, const d2v_option *row, const char *text) {
	double bytes;
	char expected[128];
	if (!parse_size(text, &bytes))
		return fail_value(parse, row, text, "a size such as 512M or 2G");
	if (!(within_bounds(row, bytes) && bytes < 0x1p64)) {
		snprintf(expected, sizeof expected, "a size from %.0f to %.0f bytes", row->min, row->max);
		return fail_value(parse, row, text, expected);
	}
	*(uint64_t *)row->into = (uint64_t)bytes;
	return D2V_OK;
}

static d2v_status store_real(const parse_state *parse, const d2v_option *row, const char *text) {
	char *end, expected[96];
	double value = strtod(text, &end);
	if (end == text || *end || !strchr("+-.0123456789", *text) || strpbrk(text, "xXnN"))
		return fail_value(parse, row, text, "a number");
	if (!within_bounds(row, value)) {
		snprintf(expected, sizeof expected, "a number from %g to %g", row->min, row->max);
		return fail_value(parse, row, text, expected);
	}
	*(double *)row->into = value;
	return D2V_OK;
}

static d2v_status store_choice(const parse_state *parse, const d2v_option *row, const char *text) {
	const char *choice = row->choices;
	for (int index = 0;; index++) {
		size_t length = strcspn(choice, "|");
		if (strlen(text) == length && strncmp(choice, text, length) == 0) {
			*(int *)row->into = index;
			return D2V_OK;
		}
		if (!choice[length])
			break;
		choice += length + 1;
	}
	char expected[256];
	snprintf(expected, sizeof expected, "one of %s", row->choices);
	return fail_value(parse, row, text, expected);
}

static bool owns(const parse_memory *memory, const void *block) {
	for (size_t i = 0; i < memory->used; i++)
		if (memory->blocks[i] == block)
			return true;
	return false;
}

// Adds the comma-separated parts of text. The items move to a new array each time; the old ones go at the release.
static d2v_status store_list(parse_state *parse, const d2v_option *row, const char *text) {
	d2v_option_list *list = row->into;
	size_t parts = 1;
	for (const char *c = text; *c; c++)
		parts += *c == ',';
	// Defaults are replaced by what is given first, and what is given is added to.
	size_t kept = owns(parse->memory, list->items) ? list->count : 0;

	char *copy;
	const char **items;
	D2V_TRY(d2v_strdup(&copy, text, parse->err));
	D2V_TRY(keep(parse, copy));
	D2V_TRY(d2v_alloc(&items, kept + parts, sizeof *items, parse->err));
	D2V_TRY(keep(parse, items));
	for (size_t i = 0; i < kept; i++)
		items[i] = list->items[i];
	size_t count = kept;
	for (char *part; (part = strsep(&copy, ","));) {
		if (!*part)
			return fail_value(parse, row, text, "names separated by commas");
		items[count++] = part;
	}
	*list = (d2v_option_list){ .items = items, .count = count };
	return D2V_OK;
}

static d2v_status store(parse_state *parse, const d2v_option *row, const char *text) {
	switch (row->kind) {
	case D2V_OPTION_INT:
		return store_int(parse, row, text);
	case D2V_OPTION_SIZE:
		return store_size(parse, row, text);
	case D2V_OPTION_REAL:
		return store_real(parse, row, text);
	case D2V_OPTION_TEXT:
		*(const char **)row->into = text;
		return D2V_OK;
	case D2V_OPTION_LIST:
		return store_list(parse, row, text);
	case D2V_OPTION_CHOICE:
		return store_choice(parse, row, text);
	default:
		*(bool *)row->into = true;
		return D2V_OK;
	}
}

static d2v_status fail_unknown(const parse_state *parse, const char *name, size_t length) {
	const char *names[128];
	size_t count = 0;
	for (const d2v_option *row = parse->command->options; row && row->name && count + 2 < 128; row++)
		names[count++] = row->name;
	names[count++] = "help";
	names[count] = NULL;
	char word[64];
	snprintf(word, sizeof word, "%.*s", (int)(length < 60 ? length : 60), name);
	const char *nearest = d2v_options_nearest(word, names);
	if (nearest)
		return fail_usage(parse, "unknown option --%s (did you mean --%s?)", word, nearest);
	return fail_usage(parse, "unknown option --%s", word);
}

static d2v_status next_value(parse_state *parse, const char *shown, const char **value) {
	if (parse->next >= parse->argc)
		return fail_usage(parse, "%s needs a value", shown);
	*value = parse->argv[parse->next++];
	return D2V_OK;
}

// argument begins behind "--".
static d2v_status long_option(parse_state *parse, const char *argument) {
	size_t length = strcspn(argument, "=");
	const char *value = argument[length] ? argument + length + 1 : NULL;
	d2v_option *row = option_named(parse->command, argument, length);
	if (!row && length == 4 && strncmp(argument, "help", 4) == 0 && !value) {
		parse->operands->help = true;
		return D2V_OK;
	}
	if (!row)
		return fail_unknown(parse, argument, length);
	if (row->kind == D2V_OPTION_FLAG)
		return value ? fail_usage(parse, "--%s takes no value", row->name) : store(parse, row, NULL);
	if (!value) {
		char shown[80];
		snprintf(shown, sizeof shown, "--%s", row->name);
		D2V_TRY(next_value(parse, shown, &value));
	}
	return store(parse, row, value);
}

// letters begins behind "-": flags, the last of which may be an option whose value follows.
static d2v_status short_options(parse_state *parse, const char *letters) {
	for (; *letters; letters++) {
		d2v_option *row = option_lettered(parse->command, *letters);
		if (!row && *letters == 'h') {
			parse->operands->help = true;
			continue;
		}
		if (!row)
			return fail_usage(parse, "unknown option -%c", *letters);
		if (row->kind == D2V_OPTION_FLAG) {
			D2V_TRY(store(parse, row, NULL));
			continue;
		}
		const char *value = letters + 1, shown[] = { '-', *letters, 0 };
		if (!*value)
			D2V_TRY(next_value(parse, shown, &value));
		return store(parse, row, value);
	}
	return D2V_OK;
}

static d2v_status check_count(const parse_state *parse) {
	const d2v_command *command = parse->command;
	int count = parse->operands->count;
	const char *usage = command->operands ? command->operands : "nothing";
	if (count < command->operands_min)
		return fail_usage(parse, "something is missing: expected %s", usage);
	if (command->operands_max >= 0 && count > command->operands_max)
		return fail_usage(
			parse, "'%.100s' is too much: expected %s", parse->operands->items[command->operands_max], usage);
	return D2V_OK;
}

static d2v_status parse_arguments(parse_state *parse) {
	bool options_ended = false;
	while (parse->next < parse->argc) {
		const char *argument = parse->argv[parse->next++];
		if (options_ended || argument[0] != '-' || !argument[1])
			parse->operands->items[parse->operands->count++] = argument;
		else if (strcmp(argument, "--") == 0)
			options_ended = true;
		else if (argument[1] == '-')
			D2V_TRY(long_option(parse, argument + 2));
		else
			D2V_TRY(short_options(parse, argument + 1));
		if (parse->operands->help)
			return D2V_OK;
	}
	return check_count(parse);
}

d2v_status d2v_options_parse(
	const d2v_command *command, int argc, char **argv, d2v_operands *operands, d2v_error *err) {
	parse_state parse = { .command = command, .argc = argc, .next = 1, .argv = argv, .operands = operands, .err = err };
	*operands = (d2v_operands){ 0 };
	d2v_status status = d2v_alloc_zero(&parse.memory, 1, sizeof *parse.memory, err);
	operands->owned = parse.memory;
	if (status == D2V_OK)
		parse.memory->command = command;
	if (status == D2V_OK)
		status = d2v_alloc_zero(&operands->items, (size_t)(argc > 0 ? argc : 0) + 1, sizeof *operands->items, err);
	if (status == D2V_OK)
		status = parse_arguments(&parse);
	if (status != D2V_OK)
		d2v_options_release(operands);
	else if (operands->help)
		d2v_options_print_help(command, stdout);
	return status;
}

// A list whose items go with the parse is left empty rather than dangling.
static void forget_lists(const parse_memory *memory) {
	const d2v_command *command = memory->command;
	for (d2v_option *row = command ? command->options : NULL; row && row->name; row++) {
		d2v_option_list *list = row->into;
		if (row->kind == D2V_OPTION_LIST && owns(memory, list->items))
			*list = (d2v_option_list){ 0 };
	}
}

void d2v_options_release(d2v_operands *operands) {
	parse_memory *memory = operands->owned;
	if (memory) {
		forget_lists(memory);
		for (size_t i = 0; i < memory->used; i++)
			d2v_free(memory->blocks[i]);
		d2v_free(memory->blocks);
		d2v_free(memory);
	}
	d2v_free(operands->items);
	*operands = (d2v_operands){ 0 };
}
