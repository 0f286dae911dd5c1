// The tokenizer of an ingest of text: where its files come from, and how they get into the data set.
//
// encoder.json and vocab.bpe are read from a folder of the user's, or fetched from where the original keeps them and
// checked by their SHA-256; the dictionary is a file of the user's, or made from what the corpus holds when all of it
// is there. All three travel in DATASET/tokenizer/, so that the data set can be loaded and read again anywhere. Life:
// open -> (encoders borrow its merges) -> publish -> publish_dictionary -> close. Immutable after open: any number of
// threads.
#ifndef D2V_INGEST_TOKENIZER_H
#define D2V_INGEST_TOKENIZER_H

#include "ingest/bpe_merges.h"
#include "ingest/download.h"
#include "shards/manifest.h"
#include "shards/record.h"

#define D2V_TOKENIZER_URL "https://dl.fbaipublicfiles.com/fairseq/gpt2_bpe"
#define D2V_TOKENIZER_FOLDER "tokenizer" // of a data set

typedef struct d2v_tokenizer d2v_tokenizer;

// folder NULL: from url, unless `out`/tokenizer has the files already. dict NULL: made from the corpus.
d2v_status d2v_tokenizer_open(d2v_tokenizer **tokenizer, const char *folder, const char *url, const char *dict,
	const char *out, const d2v_download_options *download, d2v_error *err);
void d2v_tokenizer_close(d2v_tokenizer *tokenizer); // NULL is allowed

const d2v_bpe_merges *d2v_tokenizer_merges(const d2v_tokenizer *tokenizer);
const d2v_vocabulary *d2v_tokenizer_vocabulary(const d2v_tokenizer *tokenizer);
d2v_codec d2v_tokenizer_codec(const d2v_tokenizer *tokenizer); // the narrowest that holds its ids
// Digests of the files, for the options that decide the bytes; "corpus" for a dictionary that is not there yet.
void d2v_tokenizer_digest(const d2v_tokenizer *tokenizer, char hex[17]);
void d2v_tokenizer_dictionary_digest(const d2v_tokenizer *tokenizer, char hex[17]);

// Writes the files that are known to out/tokenizer/.
d2v_status d2v_tokenizer_publish(const d2v_tokenizer *tokenizer, const char *out, d2v_error *err);
// Makes the dictionary when it is the corpus's: from the tokens of split "train", or of all when there is none.
d2v_status d2v_tokenizer_publish_dictionary(
	const d2v_tokenizer *tokenizer, const d2v_manifest *manifest, const char *out, d2v_error *err);

#endif
