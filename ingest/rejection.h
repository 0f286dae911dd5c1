// Why a file of the source was left out of the data set.
//
// Both words of a line in rejected.tsv come from here: the code for programs, the message for people. Messages are the
// same on every machine and for any number of threads, since rejected.tsv is compared byte for byte.
#ifndef D2V_INGEST_REJECTION_H
#define D2V_INGEST_REJECTION_H

#include <stdbool.h>
#include <stddef.h>

// Names are stored in data sets: append, never renumber or rename.
typedef enum d2v_reason {
	D2V_REASON_NONE,
	D2V_REASON_UNDECODABLE, // not what the name says, or damaged
	D2V_REASON_TOO_LONG,    // more seconds than --max-seconds
	D2V_REASON_TOO_LARGE,   // more bytes than --max-member, more pixels than --max-pixels
	D2V_REASON_WRONG_SIZE,  // the archive states another size than the member has
	D2V_REASON_DUPLICATE,   // the name was met before
	D2V_REASON_UNSAFE_NAME, // absolute, "..", no UTF-8, too long
	D2V_REASON_NOT_A_FILE,  // a link or a device
	D2V_REASON_UNREADABLE,  // the archive's own layer says this member is damaged
	D2V_REASON_LAYOUT,      // a sample where the layout has none
	D2V_REASON_BAD_TEXT,    // a transcript that is no UTF-8 or holds a NUL, a JSON line of no use
	D2V_REASON_COUNT
} d2v_reason;

#define D2V_REJECTION_TEXT 200

typedef struct d2v_rejection {
	d2v_reason reason;
	bool name_is_escaped; // the member's name is no text, so that it goes under what d2v_rejection_escape made of it
	char text[D2V_REJECTION_TEXT];
} d2v_rejection;

// "undecodable", "duplicate", ...: the second column of rejected.tsv.
const char *d2v_reason_name(d2v_reason reason);
// Fills *rejection (cut to its room) and returns reason, so that it can be returned at once.
d2v_reason d2v_reject(d2v_rejection *rejection, d2v_reason reason, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
// One field of a line: printable UTF-8 stays, anything else (control characters, TAB, stray bytes, backslash) becomes
// \xNN, and at most size - 1 bytes are written, ending in "..." when cut. Returns out.
const char *d2v_rejection_escape(const char *text, char *out, size_t size);

#endif
