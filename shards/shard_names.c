#include "shards/shard_names.h"

#include "base/hash.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

void d2v_shard_names_init(d2v_shard_names *names) {
	*names = (d2v_shard_names){ 0 };
}

void d2v_shard_names_release(d2v_shard_names *names) {
	d2v_free(names->bytes);
	d2v_free(names->names);
	d2v_free(names->slots);
	d2v_shard_names_init(names);
}

// The slot of the name, or the free one where it belongs.
static size_t find_slot(const d2v_shard_names *names, const char *name, uint32_t size) {
	size_t mask = names->slot_count - 1, at = d2v_hash64(name, size) & mask;
	for (;; at = (at + 1) & mask) {
		if (!names->slots[at])
			return at;
		const d2v_shard_name *other = &names->names[names->slots[at] - 1];
		if (other->size == size && memcmp(names->bytes + other->offset, name, size) == 0)
			return at;
	}
}

// Keeps at least half of the slots free.
static d2v_status grow_slots(d2v_shard_names *names, d2v_error *err) {
	if (names->slot_count / 2 > names->count)
		return D2V_OK;
	uint32_t *slots;
	size_t count = names->slot_count ? names->slot_count * 2 : 1024;
	D2V_TRY(d2v_alloc_zero(&slots, count, sizeof *slots, err));
	d2v_free(names->slots);
	names->slots = slots;
	names->slot_count = count;
	for (size_t i = 0; i < names->count; i++)
		slots[find_slot(names, names->bytes + names->names[i].offset, names->names[i].size)] = (uint32_t)i + 1;
	return D2V_OK;
}

d2v_status d2v_shard_names_add(d2v_shard_names *names, const char *name, uint32_t size, d2v_error *err) {
	if (names->count >= UINT32_MAX - 1)
		return d2v_fail(err, D2V_INVALID, "a shard holds at most %u records", UINT32_MAX - 1);
	D2V_TRY(grow_slots(names, err));
	size_t slot = find_slot(names, name, size);
	if (names->slots[slot])
		return d2v_fail(
			err, D2V_EXISTS, "the name '%.*s' is used by record %u already", (int)size, name, names->slots[slot] - 1);
	D2V_TRY(d2v_reserve(&names->bytes, &names->bytes_capacity, names->used + size, 1, err));
	D2V_TRY(d2v_reserve(&names->names, &names->names_capacity, names->count + 1, sizeof *names->names, err));
	memcpy(names->bytes + names->used, name, size);
	names->names[names->count] =
		(d2v_shard_name){ .offset = names->used, .size = size, .ordinal = (uint32_t)names->count };
	names->used += size;
	names->slots[slot] = (uint32_t)++names->count;
	return D2V_OK;
}

void d2v_shard_names_drop_last(d2v_shard_names *names) {
	const d2v_shard_name *last = &names->names[names->count - 1];
	// The last one in ends its chain, so freeing its slot hides no other.
	names->slots[find_slot(names, names->bytes + last->offset, last->size)] = 0;
	names->used -= last->size;
	names->count--;
}

static int compare(const void *a, const void *b, void *bytes) {
	const d2v_shard_name *left = a, *right = b;
	uint32_t shorter = left->size < right->size ? left->size : right->size;
	int order = memcmp((const char *)bytes + left->offset, (const char *)bytes + right->offset, shorter);
	return order ? order : left->size < right->size ? -1 : left->size > right->size;
}

void d2v_shard_names_sort(d2v_shard_names *names) {
	if (names->count)
		qsort_r(names->names, names->count, sizeof *names->names, compare, names->bytes);
}
