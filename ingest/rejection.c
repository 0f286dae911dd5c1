#include "ingest/rejection.h"

#include "base/error.h"
#include "ingest/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const names[D2V_REASON_COUNT] = {
	[D2V_REASON_NONE] = "none",
	[D2V_REASON_UNDECODABLE] = "undecodable",
	[D2V_REASON_TOO_LONG] = "too-long",
	[D2V_REASON_TOO_LARGE] = "too-large",
	[D2V_REASON_WRONG_SIZE] = "wrong-size",
	[D2V_REASON_DUPLICATE] = "duplicate",
	[D2V_REASON_UNSAFE_NAME] = "unsafe-name",
	[D2V_REASON_NOT_A_FILE] = "not-a-file",
	[D2V_REASON_UNREADABLE] = "unreadable",
	[D2V_REASON_LAYOUT] = "layout",
	[D2V_REASON_BAD_TEXT] = "bad-text",
};

const char *d2v_reason_name(d2v_reason reason) {
	return (unsigned)reason < D2V_REASON_COUNT ? names[reason] : "unknown";
}

d2v_reason d2v_reject(d2v_rejection *rejection, d2v_reason reason, const char *format, ...) {
	va_list args;
	va_start(args, format);
	vsnprintf(rejection->text, sizeof rejection->text, format, args);
	va_end(args);
	rejection->reason = reason;
	return reason;
}

const char *d2v_rejection_escape(const char *text, char *out, size_t size) {
	static const char cut[] = "...";
	D2V_ASSERT(size >= sizeof cut);
	size_t at = 0, length = strlen(text);
	for (size_t i = 0; i < length;) {
		unsigned char byte = (unsigned char)text[i];
		size_t sequence = d2v_utf8_sequence(text + i, length - i);
		bool plain = sequence && byte != '\\' && !d2v_utf8_has_control(text + i, sequence);
		size_t need = plain ? sequence : 4; // of a longer sequence each byte is written so
		if (at + need + sizeof cut > size) {
			memcpy(out + at, cut, sizeof cut);
			return out;
		}
		if (plain)
			memcpy(out + at, text + i, sequence);
		else
			snprintf(out + at, size - at, "\\x%02x", byte);
		at += need;
		i += plain ? sequence : 1;
	}
	out[at] = '\0';
	return out;
}
