#include "ingest/tokenizer.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "shards/codec_tokens.h"
#include "shards/dictionary.h"
#include "shards/shard_reader.h"

#include <stdio.h>
#include <string.h>

typedef struct text_file {
	char *bytes;
	size_t size;
} text_file;

struct d2v_tokenizer {
	text_file json, merges_text, dict; // dict: empty when it is to be made
	d2v_vocabulary *vocabulary;
	d2v_bpe_merges *merges;
	uint64_t digest, dict_digest;
};

// What the original's files are (OpenAI's GPT-2).
static const char json_sha256[] = "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783";
static const char merges_sha256[] = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5";

static d2v_status sha256(const text_file *file, char hex[D2V_HASH_HEX], d2v_error *err) {
	d2v_checksum *sum;
	D2V_TRY(d2v_checksum_new(&sum, D2V_SHA256, err));
	d2v_status status = d2v_checksum_add(sum, file->bytes, file->size, err);
	if (status == D2V_OK)
		status = d2v_checksum_hex(sum, hex, err);
	d2v_checksum_free(sum);
	return status;
}

static d2v_status check_sha256(const text_file *file, const char *wanted, const char *where, d2v_error *err) {
	char hex[D2V_HASH_HEX];
	D2V_TRY(sha256(file, hex, err));
	if (strcmp(hex, wanted) == 0)
		return D2V_OK;
	return d2v_fail(err, D2V_CORRUPT,
		"%s: its SHA-256 is %s, expected %s: not GPT-2's file, or damaged; fetch it again or give --bpe DIR", where,
		hex, wanted);
}

// ---- getting the files

static d2v_status read_in(text_file *file, const char *folder, const char *name, d2v_error *err) {
	char *path = NULL;
	void *bytes = NULL;
	D2V_TRY(d2v_path_join(&path, folder, name, err));
	d2v_status status = d2v_file_read(path, D2V_VOCABULARY_MAX_FILE, &bytes, &file->size, err);
	file->bytes = bytes;
	d2v_free(path);
	return status;
}

static d2v_status fetch(text_file *file, const char *url, const char *name, const char *wanted,
	const d2v_download_options *options, d2v_error *err) {
	char *address = NULL;
	D2V_TRY(d2v_asprintf(&address, err, "%s/%s", url, name));
	d2v_status status = d2v_download_whole(address, options, D2V_VOCABULARY_MAX_FILE, &file->bytes, &file->size, err);
	if (status != D2V_OK)
		d2v_error_prefix(
			err, "the tokenizer cannot be fetched; give a folder with encoder.json and vocab.bpe (--bpe DIR)");
	else
		status = check_sha256(file, wanted, address, err);
	d2v_free(address);
	return status;
}

static void forget(text_file *file) {
	d2v_free(file->bytes);
	*file = (text_file){ 0 };
}

// An ingest that goes on has GPT-2's files already; another tokenizer's, which an abandoned one left, do not count.
static bool was_published(d2v_tokenizer *self, const char *out) {
	char *folder = NULL;
	bool there = d2v_path_join(&folder, out, D2V_TOKENIZER_FOLDER, NULL) == D2V_OK &&
				 read_in(&self->json, folder, D2V_VOCABULARY_JSON, NULL) == D2V_OK &&
				 read_in(&self->merges_text, folder, D2V_VOCABULARY_MERGES, NULL) == D2V_OK &&
				 check_sha256(&self->json, json_sha256, folder, NULL) == D2V_OK &&
				 check_sha256(&self->merges_text, merges_sha256, folder, NULL) == D2V_OK;
	d2v_free(folder);
	return there;
}

static d2v_status get_files(d2v_tokenizer *self, const char *folder, const char *url, const char *out,
	const d2v_download_options *download, d2v_error *err) {
	if (folder) {
		D2V_TRY(read_in(&self->json, folder, D2V_VOCABULARY_JSON, err));
		return read_in(&self->merges_text, folder, D2V_VOCABULARY_MERGES, err);
	}
	if (was_published(self, out))
		return D2V_OK;
	forget(&self->json);
	forget(&self->merges_text);
	D2V_TRY(fetch(&self->json, url, D2V_VOCABULARY_JSON, json_sha256, download, err));
	return fetch(&self->merges_text, url, D2V_VOCABULARY_MERGES, merges_sha256, download, err);
}

static d2v_status get_dictionary(d2v_tokenizer *self, const char *dict, d2v_error *err) {
	d2v_dictionary *parsed;
	void *bytes = NULL;
	if (!dict)
		return D2V_OK;
	D2V_TRY(d2v_file_read(dict, D2V_VOCABULARY_MAX_FILE, &bytes, &self->dict.size, err));
	self->dict.bytes = bytes;
	self->dict_digest = d2v_hash64(bytes, self->dict.size);
	D2V_TRY(d2v_dictionary_parse(&parsed, bytes, self->dict.size, dict, d2v_vocabulary_size(self->vocabulary), err));
	d2v_dictionary_free(parsed);
	return D2V_OK;
}

static d2v_status open_tokenizer(d2v_tokenizer *self, const char *folder, const char *url, const char *dict,
	const char *out, const d2v_download_options *download, d2v_error *err) {
	D2V_TRY(get_files(self, folder, url, out, download, err));
	D2V_TRY(d2v_vocabulary_parse(&self->vocabulary, self->json.bytes, self->json.size, self->merges_text.bytes,
		self->merges_text.size, folder ? folder : "the tokenizer", err));
	self->digest = d2v_hash64_chain(
		d2v_hash64(self->json.bytes, self->json.size), d2v_hash64(self->merges_text.bytes, self->merges_text.size));
	D2V_TRY(get_dictionary(self, dict, err));
	return d2v_bpe_merges_new(&self->merges, self->vocabulary, err);
}

d2v_status d2v_tokenizer_open(d2v_tokenizer **tokenizer, const char *folder, const char *url, const char *dict,
	const char *out, const d2v_download_options *download, d2v_error *err) {
	d2v_tokenizer *opened;
	*tokenizer = NULL;
	D2V_TRY(d2v_alloc_zero(&opened, 1, sizeof *opened, err));
	d2v_status status = open_tokenizer(opened, folder, url, dict, out, download, err);
	if (status != D2V_OK)
		d2v_tokenizer_close(opened);
	else
		*tokenizer = opened;
	return status;
}

void d2v_tokenizer_close(d2v_tokenizer *tokenizer) {
	if (!tokenizer)
		return;
	d2v_bpe_merges_free(tokenizer->merges);
	d2v_vocabulary_free(tokenizer->vocabulary);
	d2v_free(tokenizer->json.bytes);
	d2v_free(tokenizer->merges_text.bytes);
	d2v_free(tokenizer->dict.bytes);
	d2v_free(tokenizer);
}

const d2v_bpe_merges *d2v_tokenizer_merges(const d2v_tokenizer *tokenizer) {
	return tokenizer->merges;
}

const d2v_vocabulary *d2v_tokenizer_vocabulary(const d2v_tokenizer *tokenizer) {
	return tokenizer->vocabulary;
}

d2v_codec d2v_tokenizer_codec(const d2v_tokenizer *tokenizer) {
	return d2v_vocabulary_size(tokenizer->vocabulary) <= D2V_TOKEN_LINE_END_16 ? D2V_CODEC_TOK16 : D2V_CODEC_TOK32;
}

void d2v_tokenizer_digest(const d2v_tokenizer *tokenizer, char hex[17]) {
	d2v_hash64_hex(tokenizer->digest, hex);
}

void d2v_tokenizer_dictionary_digest(const d2v_tokenizer *tokenizer, char hex[17]) {
	if (tokenizer->dict.bytes)
		d2v_hash64_hex(tokenizer->dict_digest, hex);
	else
		snprintf(hex, 17, "corpus");
}

// ---- into the data set

static d2v_status publish(const text_file *file, const char *folder, const char *name, d2v_error *err) {
	char *path = NULL;
	if (!file->bytes)
		return D2V_OK;
	D2V_TRY(d2v_path_join(&path, folder, name, err));
	d2v_status status = d2v_file_replace(path, file->bytes, file->size, err);
	d2v_free(path);
	return status;
}

d2v_status d2v_tokenizer_publish(const d2v_tokenizer *tokenizer, const char *out, d2v_error *err) {
	char *folder;
	D2V_TRY(d2v_path_join(&folder, out, D2V_TOKENIZER_FOLDER, err));
	d2v_status status = d2v_file_make_directories(folder, err);
	if (status == D2V_OK)
		status = publish(&tokenizer->json, folder, D2V_VOCABULARY_JSON, err);
	if (status == D2V_OK)
		status = publish(&tokenizer->merges_text, folder, D2V_VOCABULARY_MERGES, err);
	if (status == D2V_OK)
		status = publish(&tokenizer->dict, folder, D2V_DICTIONARY_FILE, err);
	d2v_free(folder);
	return status;
}

static d2v_status count_record(const d2v_record *record, uint64_t *counts, uint32_t ids, d2v_error *err) {
	d2v_tokens tokens;
	D2V_TRY(d2v_codec_tokens_view(record, &tokens, err));
	for (uint64_t i = 0; i < tokens.count; i++) {
		uint32_t token = d2v_tokens_at(&tokens, i);
		if (token < ids)
			counts[token]++;
		else if (token != D2V_TOKEN_LINE_END)
			return d2v_fail(err, D2V_CORRUPT, "a token that the tokenizer does not have");
	}
	return D2V_OK;
}

static d2v_status count_shard(const char *path, uint64_t *counts, uint32_t ids, d2v_error *err) {
	d2v_shard *shard;
	d2v_shard_view *view = NULL;
	D2V_TRY(d2v_shard_open(&shard, path, err));
	d2v_status status = d2v_shard_view_new(&view, shard, err);
	for (uint64_t i = 0; status == D2V_OK && i < d2v_shard_records(shard); i++) {
		d2v_record record;
		status = d2v_shard_read(view, i, true, &record, err);
		if (status == D2V_OK) {
			status = count_record(&record, counts, ids, err);
			if (status != D2V_OK)
				d2v_error_prefix(err, "%s: record %llu", path, (unsigned long long)i);
		}
	}
	d2v_shard_view_free(view);
	d2v_shard_close(shard);
	return status;
}

static d2v_status count_split(
	const d2v_manifest_split *split, const char *out, uint64_t *counts, uint32_t ids, d2v_error *err) {
	d2v_status status = D2V_OK;
	for (size_t i = 0; status == D2V_OK && i < split->shard_count; i++) {
		char *path;
		D2V_TRY(d2v_path_join(&path, out, split->shards[i].file, err));
		status = count_shard(path, counts, ids, err);
		d2v_free(path);
	}
	return status;
}

static d2v_status count_tokens(
	const d2v_manifest *manifest, const char *out, uint64_t *counts, uint32_t ids, d2v_error *err) {
	const d2v_manifest_split *train = d2v_manifest_find_split(manifest, "train");
	for (size_t i = 0; i < manifest->split_count; i++)
		if (!train || &manifest->splits[i] == train)
			D2V_TRY(count_split(&manifest->splits[i], out, counts, ids, err));
	return D2V_OK;
}

d2v_status d2v_tokenizer_publish_dictionary(
	const d2v_tokenizer *tokenizer, const d2v_manifest *manifest, const char *out, d2v_error *err) {
	uint32_t ids = d2v_vocabulary_size(tokenizer->vocabulary);
	d2v_dictionary *dictionary = NULL;
	uint64_t *counts;
	char *path = NULL;
	if (tokenizer->dict.bytes)
		return D2V_OK;
	D2V_TRY(d2v_alloc_zero(&counts, ids, sizeof *counts, err));
	d2v_status status = count_tokens(manifest, out, counts, ids, err);
	if (status == D2V_OK)
		status = d2v_dictionary_build(&dictionary, counts, ids, err);
	if (status == D2V_OK)
		status = d2v_asprintf(&path, err, "%s/" D2V_TOKENIZER_FOLDER "/" D2V_DICTIONARY_FILE, out);
	if (status == D2V_OK)
		status = d2v_dictionary_save(dictionary, path, err);
	d2v_free(path);
	d2v_dictionary_free(dictionary);
	d2v_free(counts);
	return status;
}
