#include "ingest/bpe_splitter.h"

// Bytes of the contraction that text starts with; 0 when it is none.
static size_t contraction(const unsigned char *text, size_t size) {
	if (size < 2 || text[0] != '\'')
		return 0;
	switch (text[1]) {
	case 's':
	case 't':
	case 'm':
	case 'd':
		return 2;
	case 'r':
	case 'v':
		return size > 2 && text[2] == 'e' ? 3 : 0;
	case 'l':
		return size > 2 && text[2] == 'l' ? 3 : 0;
	default:
		return 0;
	}
}

static d2v_char_class class_at(const unsigned char *text, size_t size, size_t *length) {
	uint32_t code;
	*length = d2v_char_decode(text, size, &code);
	return d2v_char_class_of(code);
}

// The end of the run of `kind` that goes on at `at`; *last is the size of its last character, if it has one there.
static size_t run_end(const unsigned char *text, size_t size, size_t at, d2v_char_class kind, size_t *last) {
	while (at < size) {
		size_t length;
		if (class_at(text + at, size - at, &length) != kind)
			break;
		*last = length;
		at += length;
	}
	return at;
}

size_t d2v_bpe_piece_rest(const unsigned char *text, size_t size, d2v_char_class kind) {
	size_t last = 0, end = run_end(text, size, 0, kind, &last);
	// White space leaves its last character to what follows.
	return kind == D2V_CHAR_SPACE && end < size && end > last ? end - last : end;
}

size_t d2v_bpe_piece(const unsigned char *text, size_t size, d2v_char_class *kind) {
	size_t length = contraction(text, size), space = text[0] == ' ' && size > 1;
	*kind = D2V_CHAR_OTHER;
	if (length)
		return length;
	*kind = class_at(text + space, size - space, &length);
	if (*kind == D2V_CHAR_SPACE)
		return d2v_bpe_piece_rest(text, size, D2V_CHAR_SPACE);
	return run_end(text, size, space + length, *kind, &length);
}
