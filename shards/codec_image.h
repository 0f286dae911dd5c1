// Pictures: JPEG and PNG bytes to RGB8 pixels, exactly the pixels of Pillow's Image.open(..).convert("RGB"); and back.
//
// That is: JPEG with the accurate integer IDCT and smooth chroma upsampling, grey replicated, CMYK and YCCK taken as
// inverted (as Adobe writes them) and turned into RGB as Pillow does; PNG palettes looked up, alpha dropped, 16 bits of
// colour cut to the upper 8, 16 bits of grey clipped at 255; Exif orientation, colour profiles and gamma ignored. What
// a file is is told by its bytes, not by its name. Files cut short are an error (D2V_UNDECODABLE, as all damage of the
// bytes), data that is merely odd gives the pixels that libjpeg makes of it. Nothing is written to stderr.
//
// A decoder belongs to one thread and is used again and again:
//     begin (reads the header, says the size) -> rows | whole -> begin ...
// `bytes` are borrowed from begin until the next begin or free. Only the rows and columns of the region are decoded,
// with the same pixels as when everything is. libjpeg is named in codec_jpeg.c, libpng in codec_png.c, and nowhere
// else.
#ifndef D2V_SHARDS_CODEC_IMAGE_H
#define D2V_SHARDS_CODEC_IMAGE_H

#include "shards/record.h"

#define D2V_IMAGE_SIDE_MAX 65500u       // libjpeg's own limit
#define D2V_IMAGE_PIXELS_MAX 178956970u // what Pillow takes for a bomb
#define D2V_IMAGE_SCANS_MAX 500         // of a progressive JPEG; a bomb of another kind

typedef enum d2v_image_format { D2V_IMAGE_JPEG = 1, D2V_IMAGE_PNG, D2V_IMAGE_RGB } d2v_image_format;
typedef enum d2v_image_colour { // as stored
	D2V_IMAGE_GREY = 1,
	D2V_IMAGE_COLOUR, // three channels: YCbCr or RGB
	D2V_IMAGE_CMYK,   // four, YCCK included
	D2V_IMAGE_PALETTE,
} d2v_image_colour;

typedef struct d2v_image_facts {
	d2v_image_format format;
	d2v_image_colour colour;
	uint32_t width, height;
	uint8_t bits;   // of a channel, or of a palette's index
	bool alpha;     // has an alpha channel
	bool in_passes; // progressive JPEG or interlaced PNG: nothing can be shown before nearly all is read
} d2v_image_facts;

typedef struct d2v_image_region {
	uint32_t top, left, height, width;
} d2v_image_region;

// Takes the rows of a region from top to bottom: width * 3 bytes, R G B, borrowed until it returns; y counts from the
// region's top.
typedef struct d2v_image_sink {
	void (*row)(void *context, uint32_t y, const uint8_t *rgb);
	void *context;
} d2v_image_sink;

const char *d2v_image_format_name(d2v_image_format format); // "jpeg", "png", "rgb8"
const char *d2v_image_colour_name(d2v_image_colour colour); // "grey", "colour", "cmyk", "palette"

typedef struct d2v_image_decoder d2v_image_decoder;
d2v_status d2v_image_decoder_new(d2v_image_decoder **decoder, d2v_error *err);
void d2v_image_decoder_free(d2v_image_decoder *decoder); // NULL is allowed

// Reads the header of a JPEG or PNG file. D2V_UNDECODABLE: neither, or damaged; D2V_UNSAFE: larger than the limits
// above.
d2v_status d2v_image_begin(
	d2v_image_decoder *decoder, const void *bytes, size_t size, d2v_image_facts *facts, d2v_error *err);
// The same for a record of a shard, codec jpeg, png or rgb8. D2V_CORRUPT when its payload is not of the size it says;
// messages do not name the record.
d2v_status d2v_image_begin_record(
	d2v_image_decoder *decoder, const d2v_record *record, d2v_image_facts *facts, d2v_error *err);
// Once after each begin. region NULL: the whole picture; it must lie inside. sink NULL: only checks that it decodes.
d2v_status d2v_image_rows(
	d2v_image_decoder *decoder, const d2v_image_region *region, const d2v_image_sink *sink, d2v_error *err);
// Once after each begin: all pixels into (height, width, 3).
d2v_status d2v_image_whole(d2v_image_decoder *decoder, uint8_t *pixels, d2v_error *err);

// Baseline JPEG with 4:2:0 chroma, quality 1 to 100 as libjpeg counts; the same bytes for the same pixels. *bytes:
// d2v_free.
d2v_status d2v_image_jpeg_encode(
	const uint8_t *pixels, uint32_t width, uint32_t height, int quality, void **bytes, size_t *size, d2v_error *err);
d2v_status d2v_image_png_encode(
	const uint8_t *pixels, uint32_t width, uint32_t height, void **bytes, size_t *size, d2v_error *err);

#endif
