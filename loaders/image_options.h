// What the image loader needs to know of its own options: defaults filled in, bounds checked, and a digest of what
// decides the stream.
#ifndef D2V_LOADERS_IMAGE_OPTIONS_H
#define D2V_LOADERS_IMAGE_OPTIONS_H

#include "loaders/image_source.h"

// Zeros that mean a default become that default.
d2v_status d2v_image_options_check(d2v_image_options *options, d2v_error *err);
// What is in the records, and every option that reaches the stream.
uint64_t d2v_image_options_digest(const d2v_image_options *options, const d2v_dataset *dataset);

#endif
