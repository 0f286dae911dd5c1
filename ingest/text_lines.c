#include "ingest/text_lines.h"

#include "ingest/char_class.h"

#include <string.h>

// begun, whole: false for a line of which a part is in another piece.
static d2v_status give_line(
	const d2v_text_sink *sink, const unsigned char *line, size_t size, bool begun, bool whole, d2v_error *err) {
	if (begun) {
		size_t skipped = d2v_char_skip_space(line, size);
		line += skipped, size -= skipped;
	}
	if (whole)
		size = d2v_char_trim_space(line, size);
	return sink->line(sink->context, line, size, whole, err);
}

// The lines of a part of a document. closed: it ends with the part, and so does the last line.
static d2v_status give_lines(const unsigned char *text, size_t size, bool within_line, bool closed, bool line_goes_on,
	const d2v_text_sink *sink, d2v_error *err) {
	const unsigned char *at = text, *end = text + size, *feed = text;
	while (at < end) {
		if (feed <= at && (feed = memchr(at, '\n', (size_t)(end - at))) == NULL)
			feed = end;
		const unsigned char *back = memchr(at, '\r', (size_t)(feed - at)), *stop = back ? back : feed;
		if (stop == end)
			break;
		D2V_TRY(give_line(sink, at, (size_t)(stop - at), !within_line, true, err));
		at = stop + (back && back + 1 == feed && feed < end ? 2 : 1);
		within_line = false;
	}
	if ((closed && (at < end || within_line)) || line_goes_on)
		return give_line(sink, at, (size_t)(end - at), !within_line, closed, err);
	D2V_ASSERT(closed || at == end);
	return D2V_OK;
}

d2v_status d2v_text_lines(const unsigned char *bytes, const d2v_text_piece *piece, const d2v_text_sink *sink,
	uint64_t *empty, d2v_error *err) {
	const uint32_t *ends = d2v_text_piece_ends(piece, bytes);
	size_t at = 0;
	for (uint32_t i = 0; i < piece->documents; at = ends[i++]) {
		size_t size = ends[i] - at;
		bool within_line = i == 0 && piece->within_line;
		if (!(i == 0 && piece->continues) && d2v_char_skip_space(bytes + at, size) == size) {
			++*empty;
			continue;
		}
		D2V_TRY(give_lines(bytes + at, size, within_line, true, false, sink, err));
		D2V_TRY(sink->end_document(sink->context, err));
	}
	if (!piece->goes_on)
		return D2V_OK;
	bool within_line = !piece->documents && piece->within_line;
	return give_lines(bytes + at, piece->size - at, within_line, false, piece->line_goes_on, sink, err);
}
