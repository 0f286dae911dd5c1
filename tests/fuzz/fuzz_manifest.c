// Arbitrary bytes as dataset.json: refused as damaged, or everything it names lies below the data set and its sums are
// right. A fuzzer guesses neither the digest nor the layout of the text, so both are also made right for it.
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/memory.h"
#include "shards/manifest.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check(const d2v_manifest *manifest) {
	D2V_ASSERT(manifest->modality > 0 && manifest->modality < D2V_MODALITY_END);
	for (size_t i = 0; i < manifest->file_count; i++)
		D2V_ASSERT(d2v_path_is_safe(manifest->files[i].file));
	for (size_t i = 0; i < manifest->split_count; i++) {
		const d2v_manifest_split *split = &manifest->splits[i];
		uint64_t records = 0;
		D2V_ASSERT(d2v_path_is_safe(split->name) && !strchr(split->name, '/'));
		D2V_ASSERT(d2v_manifest_find_split(manifest, split->name) == split);
		for (size_t k = 0; k < split->shard_count; k++) {
			D2V_ASSERT(d2v_path_is_safe(split->shards[k].file));
			records += split->shards[k].facts.records;
		}
		D2V_ASSERT(records == split->records);
	}
	d2v_manifest_digest(manifest);
}

static void parse(const char *text, size_t size) {
	d2v_manifest manifest;
	d2v_error err;
	d2v_status status = d2v_manifest_parse(&manifest, text, size, "input", &err);
	if (status == D2V_OK)
		check(&manifest);
	else
		D2V_ASSERT(status == D2V_CORRUPT || status == D2V_UNSUPPORTED);
	D2V_ASSERT(status == D2V_OK || strncmp(err.text, "input", 5) == 0);
	d2v_manifest_release(&manifest);
}

// The same tree as save would have written it.
static void parse_made_right(json_t *root) {
	char *text;
	d2v_error err;
	json_object_del(root, "digest");
	D2V_ASSERT(d2v_json_text(root, &text, &err) == D2V_OK);
	uint64_t digest = d2v_hash64(text, strlen(text));
	d2v_free(text);
	D2V_ASSERT(d2v_json_set_hex64(root, "digest", digest, &err) == D2V_OK);
	D2V_ASSERT(d2v_json_text(root, &text, &err) == D2V_OK);
	parse(text, strlen(text));
	d2v_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
	json_t *root;
	d2v_error err;
	parse((const char *)bytes, size);
	if (d2v_json_parse((const char *)bytes, size, "input", &root, &err) != D2V_OK)
		return 0;
	if (json_is_object(root))
		parse_made_right(root);
	json_decref(root);
	return 0;
}
