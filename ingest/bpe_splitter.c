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

// The end of the run of `kind` that goes on at `at`; *last becomes the size of its last character, if it has one there.
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

size_t d2v_bpe_piece(const unsigned char *text, size_t size) {
	size_t last = contraction(text, size), space = text[0] == ' ' && size > 1;
	if (last)
		return last;
	d2v_char_class kind = class_at(text + space, size - space, &last);
	size_t end = run_end(text, size, space + last, kind, &last);
	// White space leaves its last character to what follows.
	return kind == D2V_CHAR_SPACE && end < size && end > last ? end - last : end;
}

// ---- blocks

// Whether a piece starts at a byte is decided up to here: by the byte before and at most three behind.
#define DECIDED (D2V_BYTE_MASK - 4)

static uint64_t bits_below(size_t count) {
	return count < 64 ? ((uint64_t)1 << count) - 1 : ~(uint64_t)0;
}

// Gives the bytes of each character beyond ASCII its class. White space there has more bytes than one, which the
// formulas below do not know: returns where the first of it starts, so that nothing is decided from there on; otherwise
// `limit`.
static size_t add_beyond(const unsigned char *text, size_t left, d2v_byte_masks *masks, size_t limit) {
	for (uint64_t rest = masks->beyond; rest;) {
		size_t at = (size_t)__builtin_ctzll(rest), length;
		d2v_char_class kind = class_at(text + at, left - at, &length);
		uint64_t bits = bits_below(length) << at;
		rest &= ~bits;
		if (kind == D2V_CHAR_LETTER) {
			masks->letters |= bits;
		} else if (kind == D2V_CHAR_NUMBER) {
			masks->numbers |= bits;
		} else if (kind == D2V_CHAR_SPACE) {
			masks->space |= bits;
			return at < limit ? at : limit;
		}
	}
	return limit;
}

// A contraction takes its letters from the word that would start behind the apostrophe.
static uint64_t mend_contractions(
	const unsigned char *text, size_t left, const d2v_byte_masks *masks, uint64_t starts) {
	for (uint64_t rest = starts & masks->apostrophes; rest; rest &= rest - 1) {
		size_t at = (size_t)__builtin_ctzll(rest), length = contraction(text + at, left - at);
		if (length && at + length < D2V_BYTE_MASK) {
			starts &= ~((uint64_t)1 << (at + 1));
			starts |= masks->letters & (uint64_t)1 << (at + length);
		}
	}
	return starts;
}

// Runs of one class start pieces, unless a blank before them does; the last of several white characters starts one too.
static uint64_t piece_starts(const d2v_byte_masks *masks) {
	uint64_t letters = masks->letters, numbers = masks->numbers, space = masks->space;
	uint64_t others = ~(letters | numbers | space);
	uint64_t runs = (letters & ~(letters << 1)) | (numbers & ~(numbers << 1)) | (others & ~(others << 1));
	return (runs & ~(masks->blanks << 1)) | (space & ~(space << 1 & space >> 1)) | 1;
}

uint64_t d2v_bpe_split_block(const unsigned char *text, size_t left) {
	d2v_byte_masks masks = d2v_byte_masks_of(text);
	size_t limit = DECIDED;
	bool ends = left < D2V_BYTE_MASK;
	if (ends) {
		uint64_t there = bits_below(left);
		masks.letters &= there, masks.numbers &= there, masks.beyond &= there;
		masks.blanks &= there, masks.apostrophes &= there;
		masks.space |= ~there; // white space at the end gives up nothing
		limit = left;
	}
	if (masks.beyond)
		limit = add_beyond(text, left, &masks, limit);
	uint64_t starts = piece_starts(&masks);
	if (starts & masks.apostrophes)
		starts = mend_contractions(text, left, &masks, starts);
	starts &= bits_below(limit + 1);
	// Behind a text that ends the white space put there may go on a run.
	return ends && limit == left ? starts | (uint64_t)1 << left : starts;
}
