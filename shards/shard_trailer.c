#include "shards/shard_trailer.h"

#include "base/hash.h"
#include "base/memory.h"
#include "shards/shard_index.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define LET_GO_BYTES ((size_t)16 << 20)
#define MAGIC 0x6472616873763264u // "d2vshard"
#define SCHEMA 1

typedef struct footer { // little-endian
	uint64_t magic;
	uint32_t schema, page_size;
	uint64_t pages, records, units, digest, structure_digest, directory_digest, structure_count, file_digest, zero;
	uint64_t own_digest; // XXH3-64 of this footer with this field zero
} footer;
_Static_assert(sizeof(footer) == 96, "the footer is 96 bytes without padding");
_Static_assert(BYTE_ORDER == LITTLE_ENDIAN, "LMDB's files are in the host's order; shards are little-endian");

uint64_t d2v_shard_index_blocks(uint64_t records) {
	return records / D2V_INDEX_BLOCK + (records % D2V_INDEX_BLOCK != 0);
}

static uint64_t named_extents(uint64_t records) {
	return records + d2v_shard_index_blocks(records) + 1; // the meta
}

static uint64_t structure_digest(
	const unsigned char *file, uint64_t page_size, const d2v_shard_extent *ranges, uint64_t count) {
	uint64_t digest = 0;
	for (uint64_t i = 0; i < count; i++)
		digest = d2v_hash64_chain(
			digest, d2v_hash64(file + ranges[i].page * page_size, (size_t)ranges[i].pages * page_size));
	return digest;
}

static int by_page(const void *a, const void *b) {
	uint32_t left = ((const d2v_shard_extent *)a)->page, right = ((const d2v_shard_extent *)b)->page;
	return left < right ? -1 : left > right;
}

// Writes the ranges between `count` sorted extents to `ranges`, which has room for count + 1; returns how many there
// are.
static uint64_t complement(const d2v_shard_extent *sorted, uint64_t count, uint64_t pages, d2v_shard_extent *ranges) {
	uint64_t found = 0, next = 0;
	for (uint64_t i = 0; i <= count; i++) {
		uint64_t start = i < count ? sorted[i].page : pages;
		D2V_ASSERT(start >= next); // extents do not overlap
		if (start > next)
			ranges[found++] = (d2v_shard_extent){ .page = (uint32_t)next, .pages = (uint32_t)(start - next) };
		if (i < count)
			next = start + sorted[i].pages;
	}
	return found;
}

static footer footer_of(const d2v_shard_trailer *trailer, uint64_t directory_digest) {
	footer foot = {
		.magic = MAGIC,
		.schema = SCHEMA,
		.page_size = trailer->page_size,
		.pages = trailer->pages,
		.records = trailer->facts.records,
		.units = trailer->facts.units,
		.digest = trailer->facts.digest,
		.structure_digest = trailer->structure_digest,
		.directory_digest = directory_digest,
		.structure_count = trailer->structure_count,
		.file_digest = trailer->facts.file_digest,
	};
	foot.own_digest = d2v_hash64(&foot, sizeof foot);
	return foot;
}

// The pages stay in the page cache; only the map of them goes.
static void hash_and_let_go(d2v_hasher *hasher, const unsigned char *file, size_t size) {
	for (size_t at = 0; at < size; at += LET_GO_BYTES) {
		size_t block = size - at < LET_GO_BYTES ? size - at : LET_GO_BYTES;
		d2v_hasher_add(hasher, file + at, block);
		madvise((void *)((uintptr_t)file + at), block, MADV_DONTNEED);
	}
}

d2v_status d2v_shard_trailer_build(
	const unsigned char *file, d2v_shard_trailer *trailer, void **bytes, size_t *size, d2v_error *err) {
	d2v_status status;
	uint64_t count = trailer->extent_count, file_size = trailer->pages * trailer->page_size;
	d2v_shard_extent *sorted = NULL, *ranges = NULL;
	unsigned char *out = NULL;
	d2v_hasher *hasher = NULL;
	*bytes = NULL;
	*size = 0;
	D2V_ASSERT(count == named_extents(trailer->facts.records));
	if ((status = d2v_alloc(&sorted, count, sizeof *sorted, err)) != D2V_OK ||
		(status = d2v_alloc(&ranges, count + 1, sizeof *ranges, err)) != D2V_OK ||
		(status = d2v_hasher_new(&hasher, err)) != D2V_OK)
		goto out;
	memcpy(sorted, trailer->extents, count * sizeof *sorted);
	qsort(sorted, count, sizeof *sorted, by_page);
	trailer->structure_count = complement(sorted, count, trailer->pages, ranges);
	trailer->structure_digest = structure_digest(file, trailer->page_size, ranges, trailer->structure_count);

	size_t named = count * sizeof *sorted, rest = trailer->structure_count * sizeof *ranges, directory = named + rest;
	size_t total = 2 * directory + 2 * sizeof(footer);
	if ((status = d2v_alloc(&out, total, 1, err)) != D2V_OK)
		goto out;
	memcpy(out, trailer->extents, named);
	memcpy(out + named, ranges, rest);
	memcpy(out + directory, out, directory);
	hash_and_let_go(hasher, file, file_size);
	d2v_hasher_add(hasher, out, 2 * directory);
	trailer->facts.file_digest = d2v_hasher_value(hasher);
	trailer->facts.bytes = file_size + total;
	footer foot = footer_of(trailer, d2v_hash64(out, directory));
	memcpy(out + 2 * directory, &foot, sizeof foot);
	memcpy(out + 2 * directory + sizeof foot, &foot, sizeof foot);
	*bytes = out;
	*size = total;
out:
	d2v_hasher_free(hasher);
	d2v_free(ranges);
	d2v_free(sorted);
	return status;
}

static bool read_footer(const unsigned char *at, footer *foot) {
	memcpy(foot, at, sizeof *foot);
	footer copy = *foot;
	copy.own_digest = 0;
	return foot->magic == MAGIC && d2v_hash64(&copy, sizeof copy) == foot->own_digest;
}

// Bytes of one directory, once the footer's numbers have been held against the size of the file.
static d2v_status check_sizes(const footer *foot, uint64_t size, size_t *directory, d2v_error *err) {
	size_t pages, entries, twice, total;
	if (foot->schema != SCHEMA)
		return d2v_fail(err, D2V_UNSUPPORTED, "is a shard of schema %u, this program reads %d", foot->schema, SCHEMA);
	if (foot->page_size < 512 || foot->page_size > 65536 || (foot->page_size & (foot->page_size - 1)) ||
		foot->records > size || foot->pages > UINT32_MAX ||
		!d2v_add_fits(named_extents(foot->records), foot->structure_count, &entries) ||
		!d2v_mul_fits(entries, sizeof(d2v_shard_extent), directory) || !d2v_mul_fits(*directory, 2, &twice) ||
		!d2v_mul_fits(foot->pages, foot->page_size, &pages) || !d2v_add_fits(pages, twice, &total) ||
		!d2v_add_fits(total, 2 * sizeof *foot, &total) || total != size)
		return d2v_fail(err, D2V_CORRUPT, "its size is not what its footer says; it may be cut off");
	return D2V_OK;
}

static d2v_status check_extents(const d2v_shard_trailer *trailer, d2v_error *err) {
	for (uint64_t i = 0; i < trailer->extent_count + trailer->structure_count; i++) {
		d2v_shard_extent extent = trailer->extents[i];
		if (!extent.pages || (uint64_t)extent.page + extent.pages > trailer->pages)
			return d2v_fail(err, D2V_CORRUPT, "its directory names pages that are not there");
	}
	return D2V_OK;
}

d2v_status d2v_shard_trailer_parse(
	const unsigned char *file, uint64_t size, d2v_shard_trailer *trailer, d2v_error *damage, d2v_error *err) {
	footer foot[2];
	size_t directory = 0;
	d2v_error_clear(damage);
	if (size < 2 * sizeof *foot)
		return d2v_fail(err, D2V_CORRUPT, "has %llu bytes; it is no shard or cut off", (unsigned long long)size);
	bool good[2] = { read_footer(file + size - 2 * sizeof *foot, &foot[0]),
		read_footer(file + size - sizeof *foot, &foot[1]) };
	if (!good[0] && !good[1])
		return d2v_fail(err, D2V_CORRUPT, "does not end as a shard does; it is none, or cut off");
	const footer *whole = good[0] ? &foot[0] : &foot[1];
	D2V_TRY(check_sizes(whole, size, &directory, err));
	if (memcmp(&foot[0], &foot[1], sizeof *foot) != 0)
		d2v_fail(damage, D2V_CORRUPT, "its %s footer is damaged", good[0] ? "second" : "first");

	const unsigned char *first = file + whole->pages * whole->page_size, *second = first + directory;
	bool first_good = d2v_hash64(first, directory) == whole->directory_digest;
	bool second_good =
		memcmp(first, second, directory) == 0 || d2v_hash64(second, directory) == whole->directory_digest;
	if (!first_good && !second_good)
		return d2v_fail(err, D2V_CORRUPT, "both its directories are damaged");
	if (!first_good || !second_good)
		d2v_fail(damage, D2V_CORRUPT, "its %s directory is damaged", first_good ? "second" : "first");

	*trailer = (d2v_shard_trailer){
		.page_size = whole->page_size,
		.pages = whole->pages,
		.facts = { .records = whole->records,
			.bytes = size,
			.units = whole->units,
			.digest = whole->digest,
			.file_digest = whole->file_digest },
		.structure_digest = whole->structure_digest,
		// Page sizes are multiples of 8, and so is the size of a directory.
		.extents = (const d2v_shard_extent *)(const void *)(first_good ? first : second),
		.extent_count = named_extents(whole->records),
		.structure_count = whole->structure_count,
	};
	return check_extents(trailer, err);
}

d2v_status d2v_shard_trailer_check_structure(
	const unsigned char *file, const d2v_shard_trailer *trailer, d2v_error *err) {
	const d2v_shard_extent *ranges = trailer->extents + trailer->extent_count;
	if (structure_digest(file, trailer->page_size, ranges, trailer->structure_count) != trailer->structure_digest)
		return d2v_fail(err, D2V_CORRUPT, "its tables are damaged (digest of the B-tree pages differs)");
	return D2V_OK;
}

d2v_status d2v_shard_trailer_value(const unsigned char *file, const d2v_shard_trailer *trailer, uint64_t extent,
	bool verify, const unsigned char **value, size_t *size, d2v_error *err) {
	D2V_ASSERT(extent < trailer->extent_count);
	d2v_shard_extent at = trailer->extents[extent];
	const unsigned char *start = file + (size_t)at.page * trailer->page_size;
	d2v_shard_page head;
	memcpy(&head, start, sizeof head);
	if (verify &&
		(head.number != at.page || head.pad || head.flags != D2V_SHARD_PAGE_OVERFLOW || head.pages != at.pages))
		return d2v_fail(err, D2V_CORRUPT, "the header of its first page is damaged");
	*value = start + sizeof head;
	*size = (size_t)at.pages * trailer->page_size - sizeof head;
	return D2V_OK;
}

uint64_t d2v_shard_trailer_hashed(uint64_t size) {
	return size - 2 * sizeof(footer);
}
