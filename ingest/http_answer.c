#include "ingest/http_answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void d2v_http_answer_init(d2v_http_answer *answer) {
	memset(answer, 0, sizeof *answer);
	answer->range_start = UINT64_MAX;
}

// The value of "name: value" without spaces around it, or NULL when the line is another.
static const char *value_of(const char *line, const char *name) {
	size_t length = strlen(name);
	if (strncasecmp(line, name, length) != 0 || line[length] != ':')
		return NULL;
	return line + length + 1 + strspn(line + length + 1, " \t");
}

static uint64_t number(const char *text, char **end) {
	*end = NULL;
	return *text >= '0' && *text <= '9' ? strtoull(text, end, 10) : 0;
}

static void range(d2v_http_answer *answer, const char *value) {
	char *end;
	if (strncasecmp(value, "bytes ", 6) != 0)
		return;
	uint64_t start = number(value + 6, &end);
	if (!end || *end != '-')
		return;
	answer->range_start = start;
	const char *slash = strchr(end, '/');
	answer->range_total = slash ? number(slash + 1, &end) : 0;
}

void d2v_http_answer_line(d2v_http_answer *answer, const char *bytes, size_t size) {
	char line[512], *end;
	while (size && strchr("\r\n \t", bytes[size - 1]))
		size--;
	snprintf(line, sizeof line, "%.*s", (int)(size < sizeof line ? size : sizeof line - 1), bytes);
	if (strncmp(line, "HTTP/", 5) == 0) {
		d2v_http_answer_init(answer);
		const char *space = strchr(line, ' ');
		answer->code = space ? strtol(space + 1, NULL, 10) : 0;
		return;
	}
	const char *value;
	if ((value = value_of(line, "Content-Length")))
		answer->length = number(value, &end);
	else if ((value = value_of(line, "Content-Range")))
		range(answer, value);
	else if ((value = value_of(line, "ETag")) && value[0] == '"' && strlen(value) < sizeof answer->tag)
		snprintf(answer->tag, sizeof answer->tag, "%s", value);
	else if ((value = value_of(line, "Last-Modified")) && answer->tag[0] != '"' && strlen(value) < sizeof answer->tag)
		snprintf(answer->tag, sizeof answer->tag, "%s", value);
}
