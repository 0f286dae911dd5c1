// What kind of character a code point is, as GPT-2's splitting pattern and Python's str.strip see it; Unicode 15.0.
//
// Text is bytes, and may be no UTF-8. The original reads files strictly and stops there; we go on the way Python's
// "surrogateescape" would: every byte that starts no well-formed sequence is a character of its own, U+DC00 + byte,
// which is neither letter, number nor white space. So nothing is lost, and ids always decode to the bytes they came
// from.
#ifndef D2V_INGEST_CHAR_CLASS_H
#define D2V_INGEST_CHAR_CLASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum d2v_char_class { D2V_CHAR_OTHER, D2V_CHAR_LETTER, D2V_CHAR_NUMBER, D2V_CHAR_SPACE } d2v_char_class;

#define D2V_CHAR_CLASS_END 0x323c0                                   // from here on all are D2V_CHAR_OTHER
extern const uint16_t d2v_char_class_block[D2V_CHAR_CLASS_END / 64]; // by code / 64: which block
extern const uint8_t d2v_char_class_bits[][16]; // four code points a byte, the first in the lowest bits

// \p{L}, \p{N}, \s of the pattern. U+001C to U+001F are not white space here.
static inline d2v_char_class d2v_char_class_of(uint32_t code) {
	if (code >= D2V_CHAR_CLASS_END)
		return D2V_CHAR_OTHER;
	unsigned bits = d2v_char_class_bits[d2v_char_class_block[code / 64]][code % 64 / 4];
	return (d2v_char_class)(bits >> code % 4 * 2 & 3);
}

// The character that text (size >= 1) starts with; returns its bytes, 1 to 4.
size_t d2v_char_decode(const unsigned char *text, size_t size, uint32_t *code);

// What str.strip takes away: white space, and U+001C to U+001F too.
size_t d2v_char_skip_space(const unsigned char *text, size_t size); // bytes of it that text starts with
size_t d2v_char_trim_space(const unsigned char *text, size_t size); // the size without what text ends with

#endif
