// UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing past U+10FFFF.
#ifndef D2V_INGEST_UTF8_H
#define D2V_INGEST_UTF8_H

#include <stdbool.h>
#include <stddef.h>

// Bytes of the sequence that text starts with (1 to 4); 0 when it starts with none.
size_t d2v_utf8_sequence(const char *text, size_t size);
// True when all of it is UTF-8 without NUL.
bool d2v_utf8_is_text(const char *text, size_t size);
// True when the text, which is UTF-8, has control characters (C0, DEL, C1): what a terminal or a table would stumble over.
bool d2v_utf8_has_control(const char *text, size_t size);

#endif
