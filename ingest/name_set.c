#include "ingest/name_set.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"

#include <string.h>

void d2v_name_set_init(d2v_name_set *set, size_t max) {
	*set = (d2v_name_set){ .max = max };
}

void d2v_name_set_release(d2v_name_set *set) {
	d2v_free(set->keys);
	set->keys = NULL;
	set->capacity = set->count = 0;
}

static bool insert(uint64_t *keys, size_t capacity, uint64_t key) {
	size_t at = key & (capacity - 1);
	while (keys[at] && keys[at] != key)
		at = (at + 1) & (capacity - 1);
	bool added = !keys[at];
	keys[at] = key;
	return added;
}

static d2v_status add_key(d2v_name_set *set, uint64_t key, bool *added, d2v_error *err) {
	if (set->count >= set->max)
		return d2v_fail(
			err, D2V_UNSAFE, "more than %zu files; give the sources in parts, or raise --max-files", set->max);
	if (set->count * 4 >= set->capacity * 3) {
		size_t capacity = set->capacity ? set->capacity * 2 : 1024;
		uint64_t *keys;
		D2V_TRY(d2v_alloc_zero(&keys, capacity, sizeof *keys, err));
		for (size_t i = 0; i < set->capacity; i++)
			if (set->keys[i])
				insert(keys, capacity, set->keys[i]);
		d2v_free(set->keys);
		set->keys = keys;
		set->capacity = capacity;
	}
	*added = insert(set->keys, set->capacity, key);
	set->count += *added;
	return D2V_OK;
}

d2v_status d2v_name_set_add(d2v_name_set *set, const char *split, const char *name, bool *added, d2v_error *err) {
	uint64_t key = d2v_hash64_seeded(name, strlen(name), d2v_hash64(split, strlen(split)));
	return add_key(set, key ? key : 1, added, err);
}

d2v_status d2v_name_set_save(const d2v_name_set *set, const char *path, d2v_error *err) {
	d2v_file_out *out;
	D2V_TRY(d2v_file_begin(&out, path, err));
	for (size_t i = 0; i < set->capacity; i++)
		if (set->keys[i]) {
			d2v_status status = d2v_file_write(out, &set->keys[i], sizeof *set->keys, err);
			if (status != D2V_OK) {
				d2v_file_abandon(out);
				return status;
			}
		}
	return d2v_file_commit(out, err);
}

d2v_status d2v_name_set_load(d2v_name_set *set, const char *path, d2v_error *err) {
	void *bytes;
	size_t size;
	bool added;
	D2V_TRY(d2v_file_read(path, set->max * sizeof(uint64_t), &bytes, &size, err));
	d2v_status status = D2V_OK;
	for (size_t at = 0; status == D2V_OK && at + sizeof(uint64_t) <= size; at += sizeof(uint64_t)) {
		uint64_t key;
		memcpy(&key, (unsigned char *)bytes + at, sizeof key);
		status = key ? add_key(set, key, &added, err) : D2V_OK;
	}
	d2v_free(bytes);
	return status;
}
