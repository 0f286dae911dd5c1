#include "tests/shards/shard_fixture.h"

#include "base/file.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

#define UNITS_MAX 4096

uint64_t fixture_units(uint64_t record) {
	return 40 + record * 977 % 2900;
}

int16_t fixture_sample(uint64_t record, uint64_t k) {
	return (int16_t)(record * 131 + k * k * 7 + k);
}

void fixture_record(uint64_t number, d2v_record *record) {
	static char name[64], text[64];
	static int16_t samples[UNITS_MAX];
	uint64_t units = fixture_units(number);
	for (uint64_t k = 0; k < units; k++)
		samples[k] = fixture_sample(number, k);
	int name_size = snprintf(name, sizeof name, "%llu-utterance", (unsigned long long)(number * 7919 % 10007));
	int text_size = snprintf(text, sizeof text, "NUMBER %llu SPEAKS", (unsigned long long)number);
	*record = (d2v_record){ .codec = D2V_CODEC_PCM16,
		.label = (int32_t)number - 3,
		.rate = FIXTURE_RATE,
		.rows = 1,
		.units = units,
		.name = name,
		.name_size = (uint32_t)name_size,
		.text = text,
		.text_size = (uint32_t)text_size,
		.payload = samples,
		.payload_size = units * sizeof *samples };
}

bool fixture_is(const d2v_record *record, uint64_t number) {
	d2v_record wanted;
	fixture_record(number, &wanted);
	return record->codec == wanted.codec && record->label == wanted.label && record->rate == wanted.rate &&
		   record->rows == wanted.rows && record->units == wanted.units && record->name_size == wanted.name_size &&
		   memcmp(record->name, wanted.name, wanted.name_size) == 0 && record->text_size == wanted.text_size &&
		   memcmp(record->text, wanted.text, wanted.text_size) == 0 && record->payload_size == wanted.payload_size &&
		   memcmp(record->payload, wanted.payload, wanted.payload_size) == 0;
}

void fixture_shard(const char *path, uint64_t first, uint64_t count, d2v_shard_facts *facts) {
	d2v_error err = { 0 };
	d2v_shard_writer *writer;
	json_t *meta = json_pack("{s:I}", "first", (json_int_t)first);
	assert_ok(d2v_shard_writer_begin(&writer, path, 0, &err));
	for (uint64_t i = 0; i < count; i++) {
		d2v_record record;
		fixture_record(first + i, &record);
		assert_ok(d2v_shard_writer_append(writer, &record, &err));
	}
	assert_ok(d2v_shard_writer_commit(writer, meta, facts, &err));
	json_decref(meta);
}

static void add_shard(const char *folder, d2v_manifest_split *split, int number, uint64_t first, uint64_t count) {
	d2v_error err = { 0 };
	d2v_shard_facts facts;
	char file[64], path[SCRATCH_PATH + 320];
	snprintf(file, sizeof file, "%s/%05d.mdb", split->name, number);
	snprintf(path, sizeof path, "%s/%s", folder, file);
	fixture_shard(path, first, count, &facts);
	assert_ok(d2v_manifest_add_shard(split, file, &facts, &err));
}

static void make_split_folder(const char *folder, const char *name) {
	d2v_error err = { 0 };
	char path[SCRATCH_PATH + 320];
	snprintf(path, sizeof path, "%s/%s", folder, name);
	assert_ok(d2v_file_make_directories(path, &err));
}

void fixture_dataset(const char *folder, int shards, uint64_t per_shard, uint64_t dev) {
	d2v_error err = { 0 };
	d2v_manifest manifest;
	d2v_manifest_split *split;
	char path[SCRATCH_PATH + 320];
	static const char rejected[] = "broken.flac\tnot FLAC\n";
	d2v_manifest_init(&manifest, D2V_AUDIO);
	manifest.rate = FIXTURE_RATE;
	manifest.options = json_pack("{s:s}", "store", "pcm16");
	assert_ok(d2v_manifest_add_source(&manifest, "sounds.tar.gz", "md5:00112233445566778899aabbccddeeff", 4711, &err));
	make_split_folder(folder, "train");
	assert_ok(d2v_manifest_add_split(&manifest, "train", &split, &err));
	for (int i = 0; i < shards; i++)
		add_shard(folder, split, i, (uint64_t)i * per_shard, per_shard);
	split->rejected = 1;
	assert_ok(d2v_manifest_stats(&manifest, split, folder, &err));
	if (dev) {
		make_split_folder(folder, "dev");
		assert_ok(d2v_manifest_add_split(&manifest, "dev", &split, &err));
		add_shard(folder, split, 0, 5000, dev);
		assert_ok(d2v_manifest_stats(&manifest, split, folder, &err));
	}
	snprintf(path, sizeof path, "%s/train/rejected.tsv", folder);
	assert_ok(d2v_file_replace(path, rejected, sizeof rejected - 1, &err));
	assert_ok(d2v_manifest_save(&manifest, folder, &err));
	d2v_manifest_release(&manifest);
}
