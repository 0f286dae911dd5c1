#include "ingest/bpe_encoder.h"

#include "base/memory.h"
#include "ingest/bpe_splitter.h"

struct d2v_bpe_encoder {
	const d2v_bpe_merges *merges;
	bool inside;         // a text has been left in the middle of a piece
	d2v_char_class kind; // of this kind
};

d2v_status d2v_bpe_encoder_new(d2v_bpe_encoder **encoder, const d2v_bpe_merges *merges, d2v_error *err) {
	D2V_TRY(d2v_alloc_zero(encoder, 1, sizeof **encoder, err));
	(*encoder)->merges = merges;
	return D2V_OK;
}

void d2v_bpe_encoder_free(d2v_bpe_encoder *encoder) {
	d2v_free(encoder);
}

static size_t next_piece(const d2v_bpe_encoder *encoder, const unsigned char *text, size_t size, d2v_char_class *kind) {
	*kind = encoder->kind;
	return encoder->inside ? d2v_bpe_piece_rest(text, size, *kind) : d2v_bpe_piece(text, size, kind);
}

static void add_piece(d2v_bpe_encoder *encoder, const unsigned char *piece, size_t size, d2v_ids *ids) {
	ids->count += d2v_bpe_merge(encoder->merges, piece, size, ids->ids + ids->count);
	encoder->inside = false;
}

// The beginning of a piece whose end is not in sight, without the bytes that may turn out not to belong to it.
static size_t add_open_piece(
	d2v_bpe_encoder *encoder, const unsigned char *piece, size_t size, d2v_char_class kind, d2v_ids *ids) {
	size_t used;
	ids->count += d2v_bpe_merge_open(encoder->merges, piece, size - D2V_BPE_LOOK_AHEAD, ids->ids + ids->count, &used);
	if (used) {
		encoder->inside = true;
		encoder->kind = kind;
	}
	return used;
}

static d2v_status make_room(d2v_ids *ids, size_t size, d2v_error *err) {
	size_t need;
	if (!d2v_add_fits(ids->count, size, &need))
		return d2v_fail(err, D2V_NO_MEMORY, "no memory for the tokens of %zu bytes", size);
	return d2v_reserve(&ids->ids, &ids->capacity, need, sizeof *ids->ids, err);
}

d2v_status d2v_bpe_encode(d2v_bpe_encoder *encoder, const void *text, size_t size, d2v_ids *ids, d2v_error *err) {
	const unsigned char *at = text, *end = at + size;
	d2v_char_class kind;
	D2V_TRY(make_room(ids, size, err));
	while (at < end) {
		size_t length = next_piece(encoder, at, (size_t)(end - at), &kind);
		add_piece(encoder, at, length, ids);
		at += length;
	}
	encoder->inside = false;
	return D2V_OK;
}

d2v_status d2v_bpe_encode_part(
	d2v_bpe_encoder *encoder, const void *text, size_t size, d2v_ids *ids, size_t *used, d2v_error *err) {
	const unsigned char *at = text, *end = at + size;
	d2v_char_class kind;
	*used = 0;
	D2V_TRY(make_room(ids, size, err));
	while (at < end) {
		size_t left = (size_t)(end - at), length = next_piece(encoder, at, left, &kind);
		if (length + D2V_BPE_LOOK_AHEAD > left) {
			if (left >= D2V_BPE_PART)
				at += add_open_piece(encoder, at, length, kind, ids);
			break;
		}
		add_piece(encoder, at, length, ids);
		at += length;
	}
	*used = (size_t)(at - (const unsigned char *)text);
	return D2V_OK;
}
