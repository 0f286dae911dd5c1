#include "tools/shard_gallery_sample.h"

#include "base/memory.h"
#include "base/random.h"
#include "shards/codec_image.h"
#include "shards/payload_file.h"
#include "tools/shard_output.h"
#include "tools/shard_selection.h"
#include "tools/shard_spectrogram.h"

#include <string.h>

#define SPECTROGRAM_WIDTH 1200
#define SPECTROGRAM_HEIGHT 128
#define PICTURE_SIDE 224u
#define PICTURE_QUALITY 88
#define TOKENS_SHOWN 220
#define PIECE_MAX 16 // tokens that may share one letter

typedef struct figure {
	uint64_t sample;
	const d2v_dataset_place *place;
	const d2v_record *record;
} figure;

static void start_masks(const shard_gallery_look *look, uint64_t sample, d2v_random *random) {
	d2v_random_start(random, d2v_random_key_make(look->seed, D2V_RANDOM_MASK, 0, sample));
}

static d2v_status new_mask(int32_t positions, uint8_t **mask, int32_t **scratch, d2v_error *err) {
	*scratch = NULL;
	D2V_TRY(d2v_alloc_zero(mask, (size_t)positions, 1, err));
	d2v_status status = d2v_alloc(scratch, d2v_masks_scratch(positions), sizeof **scratch, err);
	if (status != D2V_OK)
		d2v_free(*mask);
	return status;
}

static void write_caption(shard_page *page, const shard_gallery_look *look, const figure *self) {
	const d2v_record *record = self->record;
	char text[SHARD_OUTPUT_LENGTH], label[SHARD_SELECTION_LABEL];
	const d2v_manifest *manifest = look->manifest;
	shard_page_write(page, "<figcaption><span class=\"facts\" title=\"");
	shard_page_text(page, self->place->file, strlen(self->place->file));
	shard_page_write(page, ":%llu\"><b>", (unsigned long long)self->place->ordinal);
	shard_page_text(page, record->name, record->name_size);
	shard_page_write(page, "</b></span> <span class=\"facts\">%s",
		shard_output_length(record, manifest->modality, record->rate, text));
	if (record->label != D2V_RECORD_NO_LABEL) {
		shard_page_write(page, " · ");
		shard_selection_label(manifest, record->label, label);
		shard_page_text(page, label, strlen(label));
	}
	shard_page_write(page, "</span>");
	if (manifest->modality == D2V_TEXT && record->text_size) {
		shard_page_write(page, " <span class=\"facts\">");
		shard_page_text(page, record->text, record->text_size);
		shard_page_write(page, "</span>");
	}
	if (manifest->modality == D2V_AUDIO && record->text_size) {
		shard_page_write(page, "<q>");
		shard_page_text(page, record->text, record->text_size);
		shard_page_write(page, "</q>");
	}
	shard_page_write(page, "</figcaption>");
}

// Runs of masked positions in a row as rectangles of one path.
static void write_runs(shard_page *page, const uint8_t *mask, int32_t positions, int32_t y) {
	for (int32_t i = 0, end; i < positions; i = end + 1) {
		for (end = i; end < positions && mask[end];)
			end++;
		if (end > i)
			shard_page_write(page, "M%d %dh%dv1h-%dz", i, y, end - i, end - i);
	}
}

static void write_grid(shard_page *page, const uint8_t *mask, int32_t columns, int32_t rows) {
	shard_page_write(page,
		"<svg class=\"mask\" viewBox=\"0 0 %d %d\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><path d=\"",
		columns, rows);
	for (int32_t y = 0; y < rows; y++)
		write_runs(page, mask + (size_t)y * columns, columns, y);
	shard_page_write(page, "\"/></svg>");
}

// ---- sound ----

static d2v_status write_spectrogram(shard_page *page, const d2v_record *record, d2v_error *err) {
	shard_picture picture;
	void *jpeg;
	size_t size;
	D2V_TRY(shard_spectrogram_of_record(record, SPECTROGRAM_WIDTH, SPECTROGRAM_HEIGHT, &picture, err));
	d2v_status status =
		d2v_image_jpeg_encode(picture.rgb, picture.width, picture.height, PICTURE_QUALITY, &jpeg, &size, err);
	shard_picture_release(&picture);
	D2V_TRY(status);
	shard_page_write(page, "<img alt=\"spectrogram\" src=\"");
	shard_page_data(page, "image/jpeg", jpeg, size);
	shard_page_write(page, "\">");
	d2v_free(jpeg);
	return D2V_OK;
}

static d2v_status write_player(shard_page *page, const d2v_record *record, d2v_error *err) {
	d2v_payload_file file;
	D2V_TRY(d2v_payload_file_make(&file, record, "flac", err));
	shard_page_write(page, "<audio controls preload=\"none\" src=\"");
	shard_page_data(page, "audio/flac", file.bytes, file.size);
	shard_page_write(page, "\"></audio>");
	d2v_payload_file_release(&file);
	return D2V_OK;
}

static d2v_status write_sound(shard_page *page, const shard_gallery_look *look, const figure *self, d2v_error *err) {
	int64_t frames = d2v_frames_count(&look->frames, (int64_t)self->record->units);
	uint8_t *mask;
	int32_t *scratch;
	d2v_random random;
	if (frames > INT32_MAX / 4)
		return d2v_fail(err, D2V_INVALID, "is too long to be drawn");
	double width = look->longest ? 100.0 * (double)self->record->units / (double)look->longest : 100;
	shard_page_write(page, "<figure class=\"sound\"><div class=\"view\" style=\"width:%.2f%%\">", width);
	D2V_TRY(write_spectrogram(page, self->record, err));
	if (frames > 0) {
		D2V_TRY(new_mask((int32_t)frames, &mask, &scratch, err));
		start_masks(look, self->sample, &random);
		d2v_masks_block_1d(&look->masks, &random, (int32_t)frames, mask, scratch);
		write_grid(page, mask, (int32_t)frames, 1);
		d2v_free(mask);
		d2v_free(scratch);
	}
	shard_page_write(page, "</div>");
	if (look->sound)
		D2V_TRY(write_player(page, self->record, err));
	write_caption(page, look, self);
	shard_page_write(page, "</figure>\n");
	return D2V_OK;
}

// ---- pictures ----

// The square in the middle, as an evaluation would crop it.
static d2v_status square_of(const d2v_record *record, shard_picture *square, d2v_error *err) {
	shard_picture whole, cut;
	D2V_TRY(shard_picture_of_record(&whole, record, err));
	uint32_t side = whole.width < whole.height ? whole.width : whole.height;
	uint32_t left = (whole.width - side) / 2, top = (whole.height - side) / 2;
	d2v_status status = shard_picture_new(&cut, side, side, err);
	for (uint32_t y = 0; status == D2V_OK && y < side; y++)
		memcpy(
			cut.rgb + (size_t)y * side * 3, whole.rgb + ((size_t)(top + y) * whole.width + left) * 3, (size_t)side * 3);
	shard_picture_release(&whole);
	if (status != D2V_OK || side <= PICTURE_SIDE) {
		*square = cut;
		return status;
	}
	status = shard_picture_resize(&cut, PICTURE_SIDE, PICTURE_SIDE, square, err);
	shard_picture_release(&cut);
	return status;
}

// Small pictures as they are (PNG), larger ones as JPEG, which takes a fifth of the space.
static d2v_status write_image(shard_page *page, const d2v_record *record, d2v_error *err) {
	shard_picture square;
	void *bytes;
	size_t size;
	D2V_TRY(square_of(record, &square, err));
	bool small = square.width < PICTURE_SIDE / 2;
	d2v_status status =
		small ? shard_picture_png(&square, &bytes, &size, err)
			  : d2v_image_jpeg_encode(square.rgb, square.width, square.height, PICTURE_QUALITY, &bytes, &size, err);
	shard_picture_release(&square);
	D2V_TRY(status);
	shard_page_write(page, "<img alt=\"\"%s src=\"", small ? " class=\"small\"" : "");
	shard_page_data(page, small ? "image/png" : "image/jpeg", bytes, size);
	shard_page_write(page, "\">");
	d2v_free(bytes);
	return D2V_OK;
}

static d2v_status write_picture(shard_page *page, const shard_gallery_look *look, const figure *self, d2v_error *err) {
	uint8_t *mask;
	int32_t *scratch;
	d2v_random random;
	shard_page_write(page, "<figure class=\"picture\"><div class=\"view\">");
	D2V_TRY(write_image(page, self->record, err));
	D2V_TRY(new_mask(look->side * look->side, &mask, &scratch, err));
	start_masks(look, self->sample, &random);
	d2v_masks_block_2d(&look->masks, &random, look->side, mask, scratch);
	write_grid(page, mask, look->side, look->side);
	d2v_free(mask);
	d2v_free(scratch);
	shard_page_write(page, "</div>");
	write_caption(page, look, self);
	shard_page_write(page, "</figure>\n");
	return D2V_OK;
}

// ---- text ----

typedef struct piece { // tokens that make whole letters together
	char *bytes;
	size_t size, capacity;
	bool masked;
	int tokens;
} piece;

static void write_piece(shard_page *page, piece *self) {
	if (!self->size)
		return;
	shard_page_write(page, self->masked ? "<s>" : "<i>");
	shard_page_text(page, self->bytes, self->size);
	shard_page_write(page, self->masked ? "</s>" : "</i>");
	self->size = 0;
	self->tokens = 0;
	self->masked = false;
}

// mask: of the block, whose first position is the <s> that every block begins with.
static d2v_status write_tokens(shard_page *page, const shard_gallery_look *look, const d2v_tokens *tokens,
	uint64_t from, int32_t count, const uint8_t *mask, d2v_error *err) {
	piece letters = { 0 };
	d2v_status status = D2V_OK;
	for (int32_t i = 0; i < count && status == D2V_OK; i++) {
		status = d2v_token_text_append(look->tokenizer, tokens, from + (uint64_t)i, from + (uint64_t)i + 1,
			&letters.bytes, &letters.capacity, &letters.size, err);
		letters.masked |= mask[i + 1];
		letters.tokens++;
		if (status == D2V_OK && (letters.tokens == PIECE_MAX || d2v_record_is_text(letters.bytes, letters.size)))
			write_piece(page, &letters);
	}
	write_piece(page, &letters);
	d2v_free(letters.bytes);
	return status;
}

static d2v_status write_block(shard_page *page, const shard_gallery_look *look, const figure *self, d2v_error *err) {
	d2v_tokens tokens;
	uint8_t *mask;
	int32_t *scratch;
	d2v_random random;
	D2V_TRY(d2v_codec_tokens_view(self->record, &tokens, err));
	uint64_t blocks = tokens.count / (uint64_t)(look->tokens - 1);
	d2v_random_start(&random, d2v_random_key_make(look->seed, D2V_RANDOM_GALLERY, 1, self->sample));
	uint64_t block = blocks ? d2v_random_below(&random, (uint32_t)blocks) : 0;
	uint64_t from = block * (uint64_t)(look->tokens - 1), left = tokens.count - from;
	int32_t shown = left < TOKENS_SHOWN ? (int32_t)left : TOKENS_SHOWN;
	shown = shown < look->tokens - 1 ? shown : look->tokens - 1;
	D2V_TRY(new_mask(look->tokens, &mask, &scratch, err));
	start_masks(look, self->sample, &random);
	d2v_masks_random(look->masks.mask_prob, &random, look->tokens, mask, scratch);
	shard_page_write(page, "<figure class=\"block\"><div class=\"words\">");
	d2v_status status = write_tokens(page, look, &tokens, from, shown, mask, err);
	shard_page_write(page, "</div>");
	d2v_free(mask);
	d2v_free(scratch);
	write_caption(page, look, self);
	shard_page_write(page, "</figure>\n");
	return status;
}

d2v_status shard_gallery_sample(shard_page *page, const shard_gallery_look *look, uint64_t sample,
	const d2v_dataset_place *place, const d2v_record *record, d2v_error *err) {
	const figure self = { .sample = sample, .place = place, .record = record };
	switch (look->manifest->modality) {
	case D2V_AUDIO:
		return write_sound(page, look, &self, err);
	case D2V_IMAGE:
		return write_picture(page, look, &self, err);
	case D2V_TEXT:
		return write_block(page, look, &self, err);
	}
	return d2v_fail(err, D2V_UNSUPPORTED, "is of a kind that cannot be drawn");
}
