// Small shards and data sets with known content: sample k of record i is a function of both.
#ifndef D2V_TESTS_SHARDS_SHARD_FIXTURE_H
#define D2V_TESTS_SHARDS_SHARD_FIXTURE_H

#include "tests/base/scratch.h"

#include "shards/manifest.h"

#define FIXTURE_RATE 16000

uint64_t fixture_units(uint64_t record);
int16_t fixture_sample(uint64_t record, uint64_t k);
// Fills *record from the fixture's static memory, good until the next call.
void fixture_record(uint64_t number, d2v_record *record);
// Records first, first + 1, ... as one shard; the facts too.
void fixture_shard(const char *path, uint64_t first, uint64_t count, d2v_shard_facts *facts);
// FOLDER with split "train" (shards of per_shard records each) and, when not zero, "dev" of dev records, and
// rejected.tsv in train.
void fixture_dataset(const char *folder, int shards, uint64_t per_shard, uint64_t dev);
// True when the record is what fixture_record gives for that number.
bool fixture_is(const d2v_record *record, uint64_t number);

#endif
