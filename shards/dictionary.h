// fairseq's dictionary over GPT-2 ids: the numbers that a model's embedding table is indexed with.
//
//     0 <s>   1 <pad>   2 </s>   3 <unk>   4 ... the lines of dict.txt in order   last <mask>
//
// A line of dict.txt is "SYMBOL COUNT"; a symbol is a GPT-2 id in decimal or a filler madeupwordNNNN. The published
// file has 50,260 lines, so 50,265 rows with <mask>; its order cannot be computed from its counts, so it is read as it
// is (--dict). A dictionary of a corpus of one's own is built as fairseq does: the ids that occur, by count descending,
// ties by symbol ascending ("10" before "9"), then fillers until the rows without <mask> are a multiple of 8. A GPT-2
// id that is not in the dictionary is <unk>.
//
// Life: load or build -> use -> free. Immutable in between: any number of threads may use one dictionary.
#ifndef D2V_SHARDS_DICTIONARY_H
#define D2V_SHARDS_DICTIONARY_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define D2V_DICTIONARY_FILE "dict.txt" // in a data set's tokenizer/

enum { D2V_DICTIONARY_BOS, D2V_DICTIONARY_PAD, D2V_DICTIONARY_EOS, D2V_DICTIONARY_UNK, D2V_DICTIONARY_SPECIALS };

typedef struct d2v_dictionary d2v_dictionary;

// D2V_INVALID, naming file and line, for what is no dictionary over at most `ids` GPT-2 ids (the vocabulary's size):
// another tokenizer's symbols, symbols twice, ids out of range.
d2v_status d2v_dictionary_load(d2v_dictionary **dictionary, const char *path, uint32_t ids, d2v_error *err);
d2v_status d2v_dictionary_parse(
	d2v_dictionary **dictionary, const char *text, size_t size, const char *where, uint32_t ids, d2v_error *err);
// counts[id] is how often a GPT-2 id occurs in the corpus.
d2v_status d2v_dictionary_build(d2v_dictionary **dictionary, const uint64_t *counts, uint32_t ids, d2v_error *err);
void d2v_dictionary_free(d2v_dictionary *dictionary); // NULL is allowed

// Writes dict.txt: what load reads gives the same bytes again when they were in this form. Published as
// d2v_file_replace does.
d2v_status d2v_dictionary_save(const d2v_dictionary *dictionary, const char *path, d2v_error *err);

uint32_t d2v_dictionary_rows(const d2v_dictionary *dictionary); // of the embedding table: specials, lines, <mask>
uint32_t d2v_dictionary_mask(const d2v_dictionary *dictionary); // the row of <mask>: the last
uint32_t d2v_dictionary_row(const d2v_dictionary *dictionary, uint32_t gpt2_id); // D2V_DICTIONARY_UNK when it has none
uint32_t d2v_dictionary_gpt2_id(
	const d2v_dictionary *dictionary, uint32_t row); // D2V_NO_TOKEN for specials and fillers
// The whole mapping, for loops: rows[gpt2_id] for gpt2_id < ids. Borrowed.
const uint32_t *d2v_dictionary_map(const d2v_dictionary *dictionary, uint32_t *ids);

#endif
