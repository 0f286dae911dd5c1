// JSON lines: one object a line, of which one string is wanted. Lines may be of any length: the string is handed out in
// pieces as it is read, and whatever else an object holds is passed over without being kept.
//
// A line that is no object, lacks the field, has it twice or not as a string, holds a value that is not JSON (numbers
// are looked at by their characters only) or objects more than 60 deep is BAD, and the next one is gone on with; what
// was handed out of it before that showed is to be taken back. Empty lines are nothing. Half of a surrogate pair
// becomes U+FFFD; bytes that are no UTF-8 pass as they are. Life: new -> next ... until D2V_JSONL_DONE -> free. One
// thread at a time. The bytes and the field are borrowed.
#ifndef D2V_INGEST_JSONL_H
#define D2V_INGEST_JSONL_H

#include "ingest/bytes.h"
#include "ingest/rejection.h"

#include <stdint.h>

typedef enum d2v_jsonl_kind {
	D2V_JSONL_TEXT, // the next bytes of the line's string, borrowed until the next call
	D2V_JSONL_END,  // of the line, which is whole
	D2V_JSONL_BAD,  // the line is of no use; rejection says why
	D2V_JSONL_DONE, // there are no more lines
} d2v_jsonl_kind;

typedef struct d2v_jsonl_event {
	d2v_jsonl_kind kind;
	const char *text;
	size_t size;
	uint64_t line; // counted from 1
	d2v_rejection rejection;
} d2v_jsonl_event;

typedef struct d2v_jsonl d2v_jsonl;

d2v_status d2v_jsonl_new(d2v_jsonl **jsonl, const d2v_bytes *bytes, const char *field, d2v_error *err);
// Fails only with what reading the bytes failed with.
d2v_status d2v_jsonl_next(d2v_jsonl *jsonl, d2v_jsonl_event *event, d2v_error *err);
void d2v_jsonl_free(d2v_jsonl *jsonl); // NULL is allowed

#endif
