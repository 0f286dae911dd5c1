// Arbitrary bytes as a JPEG or PNG file: refused, or decoded, whole as well as a region of it.
#include "shards/codec_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void add_row(void *context, uint32_t y, const uint8_t *rgb) {
	(void)y;
	*(volatile unsigned *)context += rgb[0];
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
	static d2v_image_decoder *decoder; // one for all inputs: what one leaves behind must not hurt the next
	d2v_image_facts facts;
	d2v_error err;
	unsigned sum = 0;
	d2v_image_sink sink = { .row = add_row, .context = &sum };
	if (!decoder && d2v_image_decoder_new(&decoder, &err) != D2V_OK)
		return 0;
	if (d2v_image_begin(decoder, bytes, size, &facts, &err) != D2V_OK || (uint64_t)facts.width * facts.height > 1 << 22)
		return 0;
	d2v_image_rows(decoder, NULL, &sink, &err);
	d2v_image_region region = { facts.height / 3, facts.width / 3, facts.height / 3 + 1, facts.width / 3 + 1 };
	if (d2v_image_begin(decoder, bytes, size, &facts, &err) == D2V_OK)
		d2v_image_rows(decoder, &region, &sink, &err);
	return 0;
}
