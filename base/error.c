#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

d2v_status d2v_fail_va(d2v_error *err, d2v_status status, const char *format, va_list args) {
	D2V_ASSERT(status != D2V_OK);
	if (!err)
		return status;
	// An argument may be err->text itself, so the text is made beside it.
	char text[D2V_ERROR_TEXT];
	int length = vsnprintf(text, sizeof text, format, args);
	if (length < 0)
		snprintf(text, sizeof text, "%s", d2v_status_name(status));
	else if ((size_t)length >= sizeof text)
		memcpy(text + sizeof text - 4, "...", 4);
	err->status = status;
	memcpy(err->text, text, sizeof text);
	return status;
}

// In brackets: the header's macros of these names are for callers.
d2v_status (d2v_fail)(d2v_error *err, d2v_status status, const char *format, ...) {
	va_list args;
	va_start(args, format);
	d2v_fail_va(err, status, format, args);
	va_end(args);
	return status;
}

static d2v_status status_of_errno(int number) {
	switch (number) {
	case ENOSPC:
	case EDQUOT:
		return D2V_NO_SPACE;
	case ENOENT:
		return D2V_NOT_FOUND;
	case ENOMEM:
		return D2V_NO_MEMORY;
	case EEXIST:
		return D2V_EXISTS;
	default:
		return D2V_IO;
	}
}

d2v_status (d2v_fail_errno)(d2v_error *err, const char *format, ...) {
	int number = errno;
	d2v_status status = status_of_errno(number);
	va_list args;
	va_start(args, format);
	d2v_fail_va(err, status, format, args);
	va_end(args);
	if (!err)
		return status;
	char reason[128];
	size_t length = strlen(err->text);
	// GNU's strerror_r: thread safe, and the result is not always in the buffer.
	snprintf(err->text + length, sizeof err->text - length, ": %s", strerror_r(number, reason, sizeof reason));
	return status;
}

d2v_status d2v_error_prefix(d2v_error *err, const char *format, ...) {
	if (!err)
		return D2V_OK;
	char context[D2V_ERROR_TEXT];
	va_list args;
	va_start(args, format);
	int length = vsnprintf(context, sizeof context, format, args);
	va_end(args);
	if (length < 0)
		return err->status;
	return d2v_fail(err, err->status, "%s: %s", context, err->text);
}

d2v_status d2v_error_suffix(d2v_error *err, d2v_status status, const char *format, ...) {
	if (!err)
		return status;
	char words[D2V_ERROR_TEXT];
	va_list args;
	va_start(args, format);
	int length = vsnprintf(words, sizeof words, format, args);
	va_end(args);
	return d2v_fail(err, status, "%s%s", err->text, length < 0 ? "" : words);
}

void d2v_error_clear(d2v_error *err) {
	if (!err)
		return;
	err->status = D2V_OK;
	err->text[0] = 0;
}

// The one table of what a status is called, whether it concerns one record alone, and how a program ends with it.
static const struct {
	const char *name;
	bool skippable;
	int exit_code;
} statuses[D2V_STATUS_COUNT] = {
	[D2V_OK] = { "ok", false, 0 },
	[D2V_END] = { "end", false, 0 },
	[D2V_INTERRUPTED] = { "interrupted", false, 130 },
	[D2V_INVALID] = { "invalid", false, 2 },
	[D2V_NOT_FOUND] = { "not found", false, 1 },
	[D2V_EXISTS] = { "exists", false, 1 },
	[D2V_CORRUPT] = { "corrupt", true, 3 },
	[D2V_UNDECODABLE] = { "undecodable", true, 3 },
	[D2V_UNSAFE] = { "unsafe", true, 3 },
	[D2V_UNSUPPORTED] = { "unsupported", false, 1 },
	[D2V_NO_MEMORY] = { "no memory", false, 1 },
	[D2V_NO_SPACE] = { "no space", false, 1 },
	[D2V_IO] = { "input or output failed", false, 1 },
	[D2V_NETWORK] = { "network", false, 1 },
	[D2V_DIVERGED] = { "diverged", false, 1 },
};

static bool is_known(d2v_status status) {
	return (int)status >= 0 && status < D2V_STATUS_COUNT;
}

const char *d2v_status_name(d2v_status status) {
	return is_known(status) ? statuses[status].name : "unknown";
}

bool d2v_status_is_skippable(d2v_status status) {
	return is_known(status) && statuses[status].skippable;
}

int d2v_status_exit_code(d2v_status status) {
	return is_known(status) ? statuses[status].exit_code : 1;
}

void d2v_assert_failed(const char *expression, const char *file, int line) {
	fprintf(stderr, "d2v: %s:%d: this must hold and does not: %s\n", file, line, expression);
	abort();
}
