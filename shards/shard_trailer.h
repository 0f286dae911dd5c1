// The end of a shard: where each record lies, and digests of what LMDB would otherwise have to be trusted with.
//
//     LMDB's pages | directory | directory again | footer | footer again
//
// The directory lists the extents (runs of pages) of the records in order, of the index blocks and of the meta, and then the ranges of
// all other pages, the structure: B-tree and meta pages. Every record, index block and meta lies on pages of its own, so any byte of the
// file belongs to exactly one extent, to the structure, or to the trailer. A reader checks the structure's digest before LMDB walks
// it, since LMDB trusts its file; the directory finds the records when the structure is damaged; and as the trailer is there twice, any
// single damage leaves every other record readable. docs/format.md describes the bytes. No LMDB here. Threads: plain functions.
#ifndef D2V_SHARDS_SHARD_TRAILER_H
#define D2V_SHARDS_SHARD_TRAILER_H

#include "base/error.h"
#include "shards/shard_writer.h"

#include <stddef.h>
#include <stdint.h>

typedef struct d2v_shard_extent { // little-endian on disk
	uint32_t page, pages;
} d2v_shard_extent;

typedef struct d2v_shard_trailer {
	uint32_t page_size;
	uint64_t pages; // LMDB's
	d2v_shard_facts facts;
	uint64_t structure_digest;
	// Borrowed from the file's map (parse) or the caller (build): records, index blocks, meta, then `structure` ranges.
	const d2v_shard_extent *extents;
	uint64_t extent_count, structure_count;
} d2v_shard_trailer;

// Index blocks of a shard of that many records.
uint64_t d2v_shard_index_blocks(uint64_t records);

// file: LMDB's pages, as a shared map of the file: what was read is let go, so that a large shard does not count as memory. trailer: page_size, pages, facts (records, units, digest), extents without structure ranges. Sets the
// remaining facts and *bytes (d2v_free), which are to follow the pages.
d2v_status d2v_shard_trailer_build(
	const unsigned char *file, d2v_shard_trailer *trailer, void **bytes, size_t *size, d2v_error *err);

// file: the whole file in memory. Takes the copy that is whole. damage (d2v_error_clear'ed before) gets the first thing found
// wrong while a copy is still good. D2V_CORRUPT when neither copy is whole: no shard, truncated, overwritten. Messages do not name the file.
d2v_status d2v_shard_trailer_parse(
	const unsigned char *file, uint64_t size, d2v_shard_trailer *trailer, d2v_error *damage, d2v_error *err);
// Checks the structure pages; D2V_CORRUPT.
d2v_status d2v_shard_trailer_check_structure(const unsigned char *file, const d2v_shard_trailer *trailer, d2v_error *err);
// Where the pages of an extent hold what was put there: a pointer to its bytes and how many they may be. With verify the page header is checked too.
d2v_status d2v_shard_trailer_value(const unsigned char *file, const d2v_shard_trailer *trailer, uint64_t extent, bool verify,
	const unsigned char **value, size_t *size, d2v_error *err);
// How many bytes from the start facts.file_digest is the digest of: all before the footers. size: of a file that was parsed.
uint64_t d2v_shard_trailer_hashed(uint64_t size);

// A page as LMDB 0.9 lays it out: what the first page of an extent begins with.
typedef struct d2v_shard_page {
	uint64_t number;
	uint16_t pad, flags;
	uint32_t pages; // of the extent
} d2v_shard_page;
#define D2V_SHARD_PAGE_OVERFLOW 0x04
_Static_assert(sizeof(d2v_shard_page) == 16, "LMDB's page header");

#endif
