// From sources (archives, folders, addresses) to a data set of shards.
//
// The same sources and options give the same bytes: shards, rejected.tsv and manifest, whatever the number of jobs, and
// however often the ingest was killed and started again on the way; it goes on from the last published shard. The
// manifest is published last. Memory stays below 400 MB for sources of any size and any order. Nothing is ever written
// outside `out`. Threads: options->jobs, of which the caller's is one. One ingest per folder at a time (a lock sees to
// that).
#ifndef D2V_INGEST_INGEST_H
#define D2V_INGEST_INGEST_H

#include "base/error.h"
#include "ingest/classes.h"
#include "ingest/download.h"
#include "ingest/layout.h"
#include "shards/record.h"

struct d2v_tokenizer; // ingest/tokenizer.h

typedef struct d2v_ingest_source {
	const char *where;        // a folder, an archive, or an http(s) address
	const char *name;         // as the manifest will know it; NULL: made from where
	const char *md5, *sha256; // what the archive must have: one of them, or NULL
	uint64_t bytes;           // what a download must have; 0: not known
	uint64_t files;           // samples to expect; 0: not known
	double hours;             // of audio to expect; 0: not known
	bool is_public;           // asked for without the login
	const char *split;        // for members whose name does not tell; NULL: options->places.split
} d2v_ingest_source;

typedef enum d2v_image_check {
	D2V_IMAGE_CHECK_DECODE, // every picture is decoded whole
	D2V_IMAGE_CHECK_HEADER, // its header is read, and its end is there
	D2V_IMAGE_CHECK_NONE,   // its header is read, since the record says width and height
} d2v_image_check;

typedef struct d2v_ingest_options {
	const char *out;
	const d2v_layout *layout;
	d2v_layout_options places;
	const d2v_ingest_source *sources;
	size_t source_count;
	d2v_codec store; // one that the layout's decoder knows: for sound D2V_CODEC_PCM16 or D2V_CODEC_FLAC
	uint32_t rate;
	uint64_t shard_size;
	uint64_t max_member; // bytes of one file
	double max_seconds;  // of one recording
	uint64_t max_files;
	double max_rejected; // a count, or a percentage
	bool max_rejected_is_percent;
	bool check_md5;                        // of FLAC samples
	d2v_image_check check;                 // of pictures that are stored as they are
	uint32_t resize;                       // pixels of a picture's shorter side; 0: as it is
	int quality;                           // of pictures that are encoded anew
	uint64_t max_pixels;                   // of one picture
	const d2v_classes *classes;            // in the order of their labels; NULL: found by a first pass over the names
	const struct d2v_tokenizer *tokenizer; // of text
	int jobs;
	const char *keep; // folder to keep downloaded archives in; NULL: they are read as they come and not kept
	d2v_download_options download;
	const char *const *login; // headers "Name: value" for the servers of sources that are not public; borrowed
	size_t login_count;
	bool quiet;
} d2v_ingest_options;
#define D2V_INGEST_DEFAULTS \
	(d2v_ingest_options) { \
		.places = { .split = "train", .texts = true }, .store = D2V_CODEC_PCM16, .rate = 16000, \
		.shard_size = (uint64_t)1 << 30, .max_member = (uint64_t)64 << 20, .max_seconds = 3600, \
		.max_files = (uint64_t)2 << 20, .max_rejected = 1, .max_rejected_is_percent = true, .jobs = 1, .quality = 90, \
		.max_pixels = (uint64_t)100 << 20, .download = D2V_DOWNLOAD_DEFAULTS, \
	}

typedef struct d2v_ingest_result {
	bool was_complete;                                              // nothing was left to do
	uint64_t records, rejected, without_text, shards, bytes, units; // of the whole data set
	uint64_t splits;                                                // that have records
	uint64_t unlabelled, classes;                                   // records without a class, and how many there are
	uint64_t ignored;                                               // members of no interest met in this run
	uint64_t new_records;                                           // made in this run
	uint64_t new_units, new_bytes;                                  // bytes: of payloads
	uint64_t documents, empty; // text: of the whole data set; empty ones were left out
	uint64_t new_text_bytes;
	uint64_t digest;
	double seconds; // of this run
} d2v_ingest_result;

// D2V_CORRUPT: too many files were rejected, or a checksum is wrong. D2V_INTERRUPTED: what was published is kept.
d2v_status d2v_ingest_run(const d2v_ingest_options *options, d2v_ingest_result *result, d2v_error *err);

#endif
