#include "ingest/text_cutter.h"

#include "base/memory.h"
#include "ingest/char_class.h"
#include "ingest/jsonl.h"

#include <string.h>

#define PIECE D2V_CUTTER_PIECE

struct d2v_text_cutter {
	d2v_bytes bytes;
	d2v_jsonl *jsonl; // NULL: one document
	const unsigned char *block;
	size_t block_size;   // bytes that were read and are not in text yet
	bool ended;          // there is nothing more to read
	unsigned char *text; // (PIECE)
	size_t size;         // bytes in it
	uint32_t *ends;      // (end_capacity) where documents end in it
	size_t end_count, end_capacity;
	bool open;        // a document has begun and not ended: the one that the last bytes of text belong to
	bool continues;   // the first document of text began in an earlier piece
	bool within_line; // and its first line
	bool bad;         // a line of no use was met behind text
	uint64_t bad_line;
	d2v_rejection rejection;
};

d2v_status d2v_text_cutter_new(d2v_text_cutter **cutter, d2v_error *err) {
	D2V_TRY(d2v_alloc_zero(cutter, 1, sizeof **cutter, err));
	d2v_status status = d2v_alloc(&(*cutter)->text, PIECE, 1, err);
	if (status != D2V_OK) {
		d2v_free(*cutter);
		*cutter = NULL;
	}
	return status;
}

void d2v_text_cutter_free(d2v_text_cutter *cutter) {
	if (!cutter)
		return;
	d2v_jsonl_free(cutter->jsonl);
	d2v_free(cutter->text);
	d2v_free(cutter->ends);
	d2v_free(cutter);
}

d2v_status d2v_text_cutter_start(d2v_text_cutter *cutter, const d2v_bytes *bytes, const char *field, d2v_error *err) {
	d2v_jsonl_free(cutter->jsonl);
	*cutter = (d2v_text_cutter){ .bytes = *bytes,
		.text = cutter->text,
		.ends = cutter->ends,
		.end_capacity = cutter->end_capacity,
		.open = !field };
	return field ? d2v_jsonl_new(&cutter->jsonl, &cutter->bytes, field, err) : D2V_OK;
}

// ---- filling

static d2v_status end_document(d2v_text_cutter *cutter, d2v_error *err) {
	D2V_TRY(d2v_reserve(&cutter->ends, &cutter->end_capacity, cutter->end_count + 1, sizeof *cutter->ends, err));
	cutter->ends[cutter->end_count++] = (uint32_t)cutter->size;
	cutter->open = false;
	return D2V_OK;
}

static size_t last_end(const d2v_text_cutter *cutter) {
	return cutter->end_count ? cutter->ends[cutter->end_count - 1] : 0;
}

// What came of a line before it proved bad is taken back, unless a part of it was handed out already.
static d2v_status take_back(d2v_text_cutter *cutter, const d2v_jsonl_event *event, d2v_error *err) {
	cutter->bad = true;
	cutter->bad_line = event->line;
	cutter->rejection = event->rejection;
	if (cutter->open && cutter->continues && !cutter->end_count)
		return end_document(cutter, err);
	cutter->size = last_end(cutter);
	cutter->open = false;
	return D2V_OK;
}

d2v_status d2v_text_cutter_stop(d2v_text_cutter *cutter, d2v_error *err) {
	cutter->ended = true;
	if (!cutter->size && !cutter->continues)
		return D2V_OK; // nothing was read
	if (!cutter->jsonl || (cutter->open && cutter->continues && !cutter->end_count))
		return end_document(cutter, err);
	cutter->size = last_end(cutter);
	return D2V_OK;
}

static d2v_status read_lines(d2v_text_cutter *cutter, d2v_error *err) {
	d2v_jsonl_event event;
	D2V_TRY(d2v_jsonl_next(cutter->jsonl, &event, err));
	switch (event.kind) {
	case D2V_JSONL_TEXT:
		cutter->open = true;
		cutter->block = (const unsigned char *)event.text;
		cutter->block_size = event.size;
		return D2V_OK;
	case D2V_JSONL_END:
		return end_document(cutter, err);
	case D2V_JSONL_BAD:
		return take_back(cutter, &event, err);
	default:
		cutter->ended = true;
		return D2V_OK;
	}
}

static d2v_status read_block(d2v_text_cutter *cutter, d2v_error *err) {
	const void *block;
	if (cutter->jsonl)
		return read_lines(cutter, err);
	D2V_TRY(cutter->bytes.read(cutter->bytes.context, &block, &cutter->block_size, err));
	cutter->block = block;
	if (cutter->block_size)
		return D2V_OK;
	cutter->ended = true;
	return end_document(cutter, err);
}

// Reads until text is full, or there is no more, or a bad line is to be told of.
static d2v_status fill(d2v_text_cutter *cutter, d2v_error *err) {
	for (;;) {
		size_t room = PIECE - cutter->size, size = cutter->block_size < room ? cutter->block_size : room;
		if (size) {
			memcpy(cutter->text + cutter->size, cutter->block, size);
			cutter->size += size;
			cutter->block += size;
			cutter->block_size -= size;
		}
		if (cutter->size == PIECE || cutter->ended || cutter->bad || cutter->end_count == PIECE / 4)
			return D2V_OK;
		D2V_TRY(read_block(cutter, err));
	}
}

// ---- cutting

static bool is_white(const unsigned char *text, size_t size) {
	return d2v_char_skip_space(text, size) == size;
}

// Behind the last line end of the open document; `from` when there is none. A carriage return that comes last may be
// half of a line end.
static size_t behind_last_line(const d2v_text_cutter *cutter, size_t from) {
	const unsigned char *start = cutter->text + from;
	size_t size = cutter->size - from;
	const unsigned char *feed = memrchr(start, '\n', size), *back = size ? memrchr(start, '\r', size - 1) : NULL;
	const unsigned char *last = !feed || (back && back > feed) ? back : feed;
	return last ? (size_t)(last + 1 - cutter->text) : from;
}

// Where a line that fills text is cut.
static size_t cut_line(const d2v_text_cutter *cutter) {
	size_t at = PIECE - D2V_CUTTER_WINDOW, cut = 0, character;
	for (int i = 0; i < 3 && (cutter->text[at] & 0xC0) == 0x80; i++)
		at--;
	d2v_char_class before = D2V_CHAR_SPACE;
	for (; at + 4 <= PIECE; at += character) {
		uint32_t code;
		character = d2v_char_decode(cutter->text + at, PIECE - at, &code);
		d2v_char_class here = d2v_char_class_of(code);
		bool behind_word = before == D2V_CHAR_LETTER || before == D2V_CHAR_NUMBER;
		if ((here == D2V_CHAR_SPACE && before != D2V_CHAR_SPACE) || (here == D2V_CHAR_OTHER && behind_word))
			cut = at;
		// What str.strip takes for white space must not come last either.
		before = d2v_char_skip_space(cutter->text + at, character) ? D2V_CHAR_SPACE : here;
	}
	size_t content = d2v_char_trim_space(cutter->text, at);
	return cut ? cut : content ? content : at;
}

// How much of a full text makes the piece; the document that is open behind `from` is cut there.
static size_t cut_text(const d2v_text_cutter *cutter, size_t from, bool *within_line) {
	size_t lines = behind_last_line(cutter, from);
	*within_line = lines == 0;
	return *within_line ? cut_line(cutter) : lines;
}

// Sets the piece up; *used: bytes of text that it, or what is left out, takes up. What follows is how the next begins.
static void cut(d2v_text_cutter *cutter, d2v_text_piece *piece, size_t *used) {
	size_t from = last_end(cutter);
	bool within_line = false;
	*piece = (d2v_text_piece){ .size = from,
		.documents = (uint32_t)cutter->end_count,
		.continues = cutter->continues,
		.within_line = cutter->within_line };
	*used = cutter->size < PIECE ? from : cut_text(cutter, from, &within_line);
	bool begun = cutter->continues && !from; // what is open has something in an earlier piece
	bool white = is_white(cutter->text + from, *used - from);
	if (white && within_line && begun)
		return; // within a line: left out, and nothing has changed
	piece->goes_on = *used > from && (begun || !white);
	piece->line_goes_on = piece->goes_on && within_line;
	if (piece->goes_on)
		piece->size = *used;
	cutter->continues = piece->goes_on;
	cutter->within_line = piece->line_goes_on;
}

// The piece's text and ends go to *bytes, the rest of text to its front.
static d2v_status hand_out(d2v_text_cutter *cutter, unsigned char **bytes, size_t *capacity,
	const d2v_text_piece *piece, size_t used, d2v_error *err) {
	size_t at = (piece->size + 3) & ~(size_t)3, ends = cutter->end_count * sizeof *cutter->ends;
	D2V_TRY(d2v_reserve(bytes, capacity, at + ends + 1, 1, err));
	memcpy(*bytes, cutter->text, piece->size);
	if (ends)
		memcpy(*bytes + at, cutter->ends, ends);
	cutter->size -= used;
	memmove(cutter->text, cutter->text + used, cutter->size);
	cutter->end_count = 0;
	return D2V_OK;
}

d2v_status d2v_text_cutter_next(d2v_text_cutter *cutter, unsigned char **bytes, size_t *capacity, d2v_text_piece *piece,
	d2v_rejection *rejection, d2v_error *err) {
	size_t used;
	for (;;) {
		D2V_TRY(fill(cutter, err));
		if (!cutter->size && !cutter->end_count && (cutter->bad || cutter->ended))
			break;
		cut(cutter, piece, &used);
		D2V_TRY(hand_out(cutter, bytes, capacity, piece, used, err));
		if (piece->size || piece->documents)
			return D2V_OK;
	}
	if (!cutter->bad)
		return D2V_END;
	*piece = (d2v_text_piece){ .line = cutter->bad_line };
	*rejection = cutter->rejection;
	cutter->bad = false;
	return D2V_OK;
}
