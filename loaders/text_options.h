// What the text loader needs to know of its own options: defaults filled in, bounds checked, and a digest of what
// decides the stream.
#ifndef D2V_LOADERS_TEXT_OPTIONS_H
#define D2V_LOADERS_TEXT_OPTIONS_H

#include "loaders/text_source.h"
#include "shards/dataset.h"

// Zeros that mean a default become that default.
d2v_status d2v_text_options_check(d2v_text_options *options, d2v_error *err);
// Lengths, order and content of the records, the dictionary's digest, and every option that reaches the stream.
uint64_t d2v_text_options_digest(const d2v_text_options *options, d2v_dataset *dataset, uint64_t dictionary);

#endif
