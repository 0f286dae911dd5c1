// The half of base/options.h that talks: help, man page, and what a program with subcommands answers by itself.
#include "base/options.h"

#include "base/version.h"

#include <string.h>

#define COLUMNS 80
#define HELP_COLUMN_MAX 28 // a longer option puts its help on the next line

static size_t least(size_t a, size_t b) {
	return a < b ? a : b;
}

// Letters on the screen: bytes of UTF-8 that continue a letter do not count.
static size_t width_of(const char *text, size_t size) {
	size_t width = 0;
	for (size_t i = 0; i < size; i++)
		width += ((unsigned char)text[i] & 0xC0) != 0x80;
	return width;
}

// Writes words up to `size` bytes of text from the given column on, breaking before COLUMNS; new lines start at indent.
static void print_wrapped(FILE *out, const char *text, size_t size, size_t indent, size_t column) {
	const char *end = text + size;
	bool fresh = true; // nothing on this line yet
	while (text < end) {
		text += strspn(text, " \n");
		size_t bytes = text < end ? least(strcspn(text, " \n"), (size_t)(end - text)) : 0;
		if (!bytes)
			break;
		size_t width = width_of(text, bytes);
		if (!fresh && column + 1 + width > COLUMNS - 1) {
			fprintf(out, "\n%*s", (int)indent, "");
			column = indent;
			fresh = true;
		}
		fprintf(out, "%s%.*s", fresh ? "" : " ", (int)bytes, text);
		column += width + !fresh;
		fresh = false;
		text += bytes;
	}
	fputc('\n', out);
}

// Bytes of the paragraph that text starts with; paragraphs end at an empty line, and a line that starts with a space
// stands alone.
static size_t paragraph_size(const char *text) {
	size_t size = 0;
	for (;;) {
		size += strcspn(text + size, "\n");
		if (!text[size] || *text == ' ' || strchr("\n ", text[size + 1]))
			return size;
		size++;
	}
}

static void print_paragraphs(FILE *out, const char *text) {
	while (*text) {
		size_t size = paragraph_size(text);
		if (*text == ' ')
			fprintf(out, "%.*s\n", (int)size, text);
		else if (size)
			print_wrapped(out, text, size, 0, 0);
		else
			fputc('\n', out);
		text += size;
		text += *text == '\n';
	}
}

static const char *value_name(const d2v_option *row) {
	if (row->kind == D2V_OPTION_FLAG)
		return NULL;
	if (row->value)
		return row->value;
	switch (row->kind) {
	case D2V_OPTION_CHOICE:
		return row->choices;
	case D2V_OPTION_SIZE:
		return "BYTES";
	case D2V_OPTION_LIST:
		return "LIST";
	case D2V_OPTION_TEXT:
		return "TEXT";
	default:
		return "N";
	}
}

// "  -j, --jobs=N"
static void option_label(const d2v_option *row, char *text, size_t size) {
	const char *value = value_name(row);
	char letter[8] = "    ";
	if (row->letter)
		snprintf(letter, sizeof letter, "-%c, ", row->letter);
	snprintf(text, size, "  %s--%s%s%s", letter, row->name, value ? "=" : "", value ? value : "");
}

// The help with the bounds that parsing keeps to, so that they are said once.
static void option_help(const d2v_option *row, char *text, size_t size) {
	size_t length = (size_t)snprintf(text, size, "%s", row->help ? row->help : "");
	bool bounded = (row->min != 0 || row->max != 0) && row->max < 1e9;
	length = least(length, size - 1);
	if (bounded && (row->kind == D2V_OPTION_INT || row->kind == D2V_OPTION_REAL))
		snprintf(text + length, size - length, " [%.12g..%.12g]", row->min, row->max);
	if (row->kind == D2V_OPTION_CHOICE && row->value)
		snprintf(text + length, size - length, " [%s]", row->choices);
}

static const d2v_option help_row = { .name = "help", .letter = 'h', .kind = D2V_OPTION_FLAG, .help = "show this help" };
static const d2v_option version_row = { .name = "version", .kind = D2V_OPTION_FLAG, .help = "show the version" };
static const d2v_option man_row = { .name = "man", .kind = D2V_OPTION_FLAG, .help = "show the manual page as roff" };

static d2v_option help_without_letter(const d2v_option *options) {
	d2v_option row = help_row;
	for (; options && options->name; options++)
		if (options->letter == row.letter)
			row.letter = 0;
	return row;
}

static size_t help_column(const d2v_option *options) {
	size_t column = 14; // "  -h, --help" and two
	char label[128];
	for (; options && options->name; options++) {
		option_label(options, label, sizeof label);
		size_t width = width_of(label, strlen(label)) + 2;
		if (width > column && width <= HELP_COLUMN_MAX)
			column = width;
	}
	return column;
}

static void print_option(FILE *out, const d2v_option *row, size_t column) {
	char label[128], help[512];
	option_label(row, label, sizeof label);
	option_help(row, help, sizeof help);
	size_t width = width_of(label, strlen(label));
	fputs(label, out);
	if (width + 2 > column) {
		fputc('\n', out);
		width = 0;
	}
	fprintf(out, "%*s", (int)(column - width), "");
	print_wrapped(out, help, strlen(help), column, column);
}

static void print_examples(FILE *out, const char *text) {
	if (!text)
		return;
	fputs("\nExamples:\n", out);
	while (*text) {
		size_t size = strcspn(text, "\n");
		fprintf(out, "%s%.*s\n", size ? "  " : "", (int)size, text);
		text += size;
		text += *text == '\n';
	}
}

void d2v_options_print_help(const d2v_command *command, FILE *out) {
	fprintf(out, "Usage: %s%s%s [OPTION...]%s%s\n", command->program, command->name ? " " : "",
		command->name ? command->name : "", command->operands ? " " : "", command->operands ? command->operands : "");
	if (command->summary) {
		fputc('\n', out);
		print_paragraphs(out, command->summary);
	}
	if (command->detail) {
		fputc('\n', out);
		print_paragraphs(out, command->detail);
	}
	fputs("\nOptions:\n", out);
	size_t column = help_column(command->options);
	for (const d2v_option *row = command->options; row && row->name; row++)
		print_option(out, row, column);
	d2v_option help = help_without_letter(command->options);
	print_option(out, &help, column);
	if (!command->name) {
		print_option(out, &version_row, column);
		print_option(out, &man_row, column);
	}
	print_examples(out, command->examples);
}

// ---- the manual page -----------------------------------------------------------------------------------------------

// Text as roff takes it: no line starts a request, a minus stays a minus.
static void print_roff(FILE *out, const char *text, size_t size) {
	bool line_start = true;
	for (size_t i = 0; i < size; i++) {
		char c = text[i];
		if (line_start && (c == '.' || c == '\''))
			fputs("\\&", out);
		line_start = c == '\n';
		if (c == '\\')
			fputs("\\e", out);
		else if (c == '-')
			fputs("\\-", out);
		else
			fputc(c, out);
	}
}

static void print_roff_text(FILE *out, const char *text) {
	print_roff(out, text, strlen(text));
}

static void print_roff_paragraphs(FILE *out, const char *text) {
	while (*text) {
		size_t size = paragraph_size(text);
		if (*text == ' ') {
			fputs(".nf\n", out);
			print_roff(out, text, size);
			fputs("\n.fi\n", out);
		} else if (size) {
			print_roff(out, text, size);
			fputc('\n', out);
		} else {
			fputs(".PP\n", out);
		}
		text += size;
		text += *text == '\n';
	}
}

static void print_roff_option(FILE *out, const d2v_option *row) {
	const char *value = value_name(row);
	char help[512];
	option_help(row, help, sizeof help);
	fputs(".TP\n", out);
	if (row->letter)
		fprintf(out, "\\fB\\-%c\\fR, ", row->letter);
	fputs("\\fB\\-\\-", out);
	print_roff_text(out, row->name);
	fputs("\\fR", out);
	if (value) {
		fputs("=\\fI", out);
		print_roff_text(out, value);
		fputs("\\fR", out);
	}
	fputc('\n', out);
	print_roff_text(out, help);
	fputc('\n', out);
}

static void print_roff_synopsis(FILE *out, const d2v_command *command) {
	fputs(".PP\n\\fB", out);
	print_roff_text(out, command->program);
	if (command->name) {
		fputc(' ', out);
		print_roff_text(out, command->name);
	}
	fputs("\\fR [\\fIOPTION\\fR...] ", out);
	if (command->operands)
		print_roff_text(out, command->operands);
	fputc('\n', out);
}

static void print_roff_command(FILE *out, const d2v_command *command) {
	if (command->name) {
		fputs(".SS ", out);
		print_roff_text(out, command->name);
		fputc('\n', out);
		if (command->summary)
			print_roff_paragraphs(out, command->summary);
		fputs(".PP\n", out);
	}
	if (command->detail)
		print_roff_paragraphs(out, command->detail);
	for (const d2v_option *row = command->options; row && row->name; row++)
		print_roff_option(out, row);
	if (command->examples) {
		fputs(".PP\nExamples:\n.PP\n.nf\n", out);
		print_roff_text(out, command->examples);
		fputs("\n.fi\n", out);
	}
}

void d2v_options_print_man(const char *program, const char *summary, const d2v_command *const *commands, FILE *out) {
	fputs(".TH \"", out);
	for (const char *c = program; *c; c++)
		fputc(*c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c, out);
	fprintf(out, "\" 1 \"\" \"d2v %s\" \"d2v\"\n.SH NAME\n", D2V_VERSION);
	print_roff_text(out, program);
	fputs(" \\- ", out);
	print_roff_text(out, summary);
	fputs("\n.SH SYNOPSIS\n", out);
	for (size_t i = 0; commands[i]; i++)
		print_roff_synopsis(out, commands[i]);
	fputs(commands[0] && commands[0]->name ? ".SH COMMANDS\n" : ".SH DESCRIPTION\n", out);
	for (size_t i = 0; commands[i]; i++)
		print_roff_command(out, commands[i]);
	fputs(".SH COMMON OPTIONS\n", out);
	print_roff_option(out, &help_row);
	print_roff_option(out, &version_row);
	print_roff_option(out, &man_row);
	fputs(".SH EXIT STATUS\n0 done, 1 failed, 2 wrong usage, 3 data found damaged, 130 interrupted.\n", out);
}
