#include "ingest/piece_reader.h"

#include "base/memory.h"
#include "ingest/unpacker.h"

struct d2v_piece_reader {
	d2v_origin *source;
	const char *name, *field;
	d2v_text_cutter *cutter;
	d2v_unpacker *unpacker; // NULL: the member has not been begun
	d2v_bytes bytes;        // what comes out of it
	d2v_status failed;      // of the source, not of the member
	d2v_rejection damage;   // of the member, to be told when its pieces are out
	bool ended;
};

d2v_status d2v_piece_reader_new(d2v_piece_reader **reader, d2v_error *err) {
	D2V_TRY(d2v_alloc_zero(reader, 1, sizeof **reader, err));
	d2v_status status = d2v_text_cutter_new(&(*reader)->cutter, err);
	if (status != D2V_OK) {
		d2v_free(*reader);
		*reader = NULL;
	}
	return status;
}

void d2v_piece_reader_free(d2v_piece_reader *reader) {
	if (!reader)
		return;
	d2v_unpacker_free(reader->unpacker);
	d2v_text_cutter_free(reader->cutter);
	d2v_free(reader);
}

void d2v_piece_reader_start(d2v_piece_reader *reader, d2v_origin *source, const char *name, const char *field) {
	d2v_unpacker_free(reader->unpacker);
	*reader = (d2v_piece_reader){ .source = source, .name = name, .field = field, .cutter = reader->cutter };
}

static d2v_status read_member(void *context, const void **bytes, size_t *size, d2v_error *err) {
	d2v_piece_reader *reader = context;
	d2v_rejection rejection = { 0 };
	reader->failed = d2v_origin_read_on(reader->source, bytes, size, &rejection, err);
	D2V_TRY(reader->failed);
	if (rejection.reason != D2V_REASON_NONE)
		return d2v_fail(err, D2V_CORRUPT, "%s", rejection.text);
	return D2V_OK;
}

static d2v_status begin(d2v_piece_reader *reader, d2v_error *err) {
	d2v_bytes packed = { .read = read_member, .context = reader, .name = reader->name };
	D2V_TRY(d2v_unpacker_new(&reader->unpacker, &packed, err));
	reader->bytes = d2v_unpacker_bytes(reader->unpacker);
	return d2v_text_cutter_start(reader->cutter, &reader->bytes, reader->field, err);
}

// The member is damaged: what was read of it stands.
static d2v_status stop_member(d2v_piece_reader *reader, const d2v_error *why, d2v_error *err) {
	d2v_reject(&reader->damage, D2V_REASON_UNREADABLE, "damaged; what came before is kept: %s", why->text);
	return reader->unpacker ? d2v_text_cutter_stop(reader->cutter, err) : D2V_OK;
}

static d2v_status read_piece(d2v_piece_reader *reader, unsigned char **bytes, size_t *capacity, d2v_text_piece *piece,
	d2v_rejection *rejection, d2v_error *err) {
	d2v_error why = { 0 };
	bool damaged = reader->damage.reason != D2V_REASON_NONE;
	d2v_status status = reader->unpacker || damaged ? D2V_OK : begin(reader, &why);
	if (status == D2V_OK)
		status =
			reader->unpacker ? d2v_text_cutter_next(reader->cutter, bytes, capacity, piece, rejection, &why) : D2V_END;
	if (status == D2V_CORRUPT && reader->failed == D2V_OK && !damaged) {
		D2V_TRY(stop_member(reader, &why, err));
		return read_piece(reader, bytes, capacity, piece, rejection, err);
	}
	if (status != D2V_OK && status != D2V_END && err)
		*err = why;
	return status;
}

d2v_status d2v_piece_reader_next(d2v_piece_reader *reader, unsigned char **bytes, size_t *capacity,
	d2v_text_piece *piece, d2v_rejection *rejection, d2v_error *err) {
	if (reader->ended)
		return D2V_END;
	d2v_status status = read_piece(reader, bytes, capacity, piece, rejection, err);
	reader->ended = status != D2V_OK;
	if (status != D2V_END || reader->damage.reason == D2V_REASON_NONE)
		return status;
	*piece = (d2v_text_piece){ 0 };
	*rejection = reader->damage;
	return D2V_OK;
}
