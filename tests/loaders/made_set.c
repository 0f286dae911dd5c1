#include "tests/loaders/made_set.h"

#include "base/file.h"

#include <stdio.h>

static d2v_status append_records(const made_set *set, d2v_shard_writer *writer, uint32_t shard, d2v_error *err) {
	uint32_t first = (uint32_t)((uint64_t)set->records * shard / set->shards);
	uint32_t end = (uint32_t)((uint64_t)set->records * (shard + 1) / set->shards);
	for (uint32_t i = first; i < end; i++)
		D2V_TRY(set->append(set->data, writer, i, err));
	return D2V_OK;
}

static d2v_status write_shard(const made_set *set, uint32_t shard, d2v_manifest_split *split, d2v_error *err) {
	char path[1024], name[32];
	d2v_shard_writer *writer;
	d2v_shard_facts facts;
	snprintf(name, sizeof name, "train/%05u.mdb", shard);
	snprintf(path, sizeof path, "%s/%s", set->folder, name);
	D2V_TRY(d2v_shard_writer_begin(&writer, path, 0, err));
	d2v_status status = append_records(set, writer, shard, err);
	if (status != D2V_OK) {
		d2v_shard_writer_abandon(writer);
		return status;
	}
	D2V_TRY(d2v_shard_writer_commit(writer, NULL, &facts, err));
	return d2v_manifest_add_shard(split, name, &facts, err);
}

static d2v_status write_all(const made_set *set, d2v_manifest *manifest, d2v_error *err) {
	d2v_manifest_split *split;
	D2V_TRY(d2v_manifest_add_split(manifest, "train", &split, err));
	if (set->describe)
		D2V_TRY(set->describe(set->data, manifest, err));
	for (uint32_t shard = 0; shard < set->shards; shard++)
		D2V_TRY(write_shard(set, shard, split, err));
	D2V_TRY(d2v_manifest_stats(manifest, split, set->folder, err));
	return d2v_manifest_save(manifest, set->folder, err);
}

d2v_status made_set_write(const made_set *set, d2v_error *err) {
	char path[1024];
	d2v_manifest manifest;
	snprintf(path, sizeof path, "%s/train", set->folder);
	D2V_TRY(d2v_file_make_directories(path, err));
	d2v_manifest_init(&manifest, set->modality);
	d2v_status status = write_all(set, &manifest, err);
	d2v_manifest_release(&manifest);
	return status;
}
