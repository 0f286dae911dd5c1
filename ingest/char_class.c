#include "ingest/char_class.h"

// Table 3-7 of the Unicode standard: which bytes may come second.
static bool may_follow(unsigned char lead, unsigned char second) {
	switch (lead) {
	case 0xe0:
		return second >= 0xa0 && second <= 0xbf;
	case 0xed:
		return second >= 0x80 && second <= 0x9f;
	case 0xf0:
		return second >= 0x90 && second <= 0xbf;
	case 0xf4:
		return second >= 0x80 && second <= 0x8f;
	default:
		return second >= 0x80 && second <= 0xbf;
	}
}

// Bytes of the sequence that a byte beyond ASCII leads; 1 when it leads none.
static size_t sequence_length(unsigned char lead) {
	return lead < 0xc2 || lead > 0xf4 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

// How many bytes of that sequence are there and well-formed.
static size_t sequence_present(const unsigned char *text, size_t size) {
	size_t length = sequence_length(text[0]), at = 1;
	if (size < length)
		length = size;
	if (at < length && !may_follow(text[0], text[1]))
		return 1;
	for (at = 1; at < length && (text[at] & 0xc0) == 0x80; at++)
		;
	return at;
}

size_t d2v_char_decode(const unsigned char *text, size_t size, uint32_t *code) {
	unsigned char lead = text[0];
	*code = lead;
	if (lead < 0x80)
		return 1;
	size_t length = sequence_length(lead);
	if (length == 1 || sequence_present(text, size) < length) {
		*code = 0xdc00u + lead;
		return 1;
	}
	*code = lead & (0x7fu >> length);
	for (size_t at = 1; at < length; at++)
		*code = *code << 6 | (text[at] & 0x3fu);
	return length;
}

static bool is_stripped(uint32_t code) {
	return d2v_char_class_of(code) == D2V_CHAR_SPACE || (code >= 0x1c && code <= 0x1f);
}

size_t d2v_char_skip_space(const unsigned char *text, size_t size) {
	size_t at = 0;
	while (at < size) {
		uint32_t code;
		size_t length = d2v_char_decode(text + at, size - at, &code);
		if (!is_stripped(code))
			break;
		at += length;
	}
	return at;
}

// A well-formed sequence is found from its end too: only its first byte is no continuation.
static size_t last_character(const unsigned char *text, size_t size, uint32_t *code) {
	size_t length = 1;
	while (length < 4 && length < size && (text[size - length] & 0xc0) == 0x80)
		length++;
	if (d2v_char_decode(text + size - length, length, code) == length)
		return length;
	*code = 0xdc00u + text[size - 1];
	return 1;
}

size_t d2v_char_trim_space(const unsigned char *text, size_t size) {
	while (size) {
		uint32_t code;
		size_t length = last_character(text, size, &code);
		if (!is_stripped(code))
			break;
		size -= length;
	}
	return size;
}
