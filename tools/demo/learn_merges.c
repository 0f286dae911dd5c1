// A small tokenizer of GPT-2's form for the demo, which has no network to fetch the real one: learns byte pairs from
// text.
//     learn_merges FOLDER MERGES < TEXT      writes FOLDER/encoder.json and FOLDER/vocab.bpe
// Byte-pair encoding as it was published: words, each with the blank before it, fall apart into bytes; the pair of
// neighbours that is most frequent (of equals the smallest) becomes a token, again and again. Every pass counts anew:
// plain, and quick enough for a megabyte of text. Memory is the process's, which ends with it.
#include "base/file.h"
#include "base/json.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX (1 << 20)
#define WORDS_MAX 20000
#define WORD_MAX 24
#define TOKENS_MAX 1024
#define NAME_MAX_BYTES 128

typedef struct word {
	int tokens[WORD_MAX];
	int length;
	long count;
} word;

static word words[WORDS_MAX];
static int word_count;
static char names[TOKENS_MAX][NAME_MAX_BYTES]; // in GPT-2's characters
static long pairs[TOKENS_MAX][TOKENS_MAX];

static bool shows_itself(int byte) {
	return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

// GPT-2's characters for bytes: those that print stand for themselves, the others are counted up from 256.
static void name_bytes(void) {
	for (int byte = 0, moved = 0; byte < 256; byte++) {
		int code = shows_itself(byte) ? byte : 256 + moved++;
		if (code < 0x80)
			snprintf(names[byte], sizeof names[byte], "%c", code);
		else
			snprintf(names[byte], sizeof names[byte], "%c%c", 0xC0 | code >> 6, 0x80 | (code & 0x3F));
	}
}

static void add_word(const char *bytes, int length) {
	word fresh = { .length = length, .count = 1 };
	for (int i = 0; i < length; i++)
		fresh.tokens[i] = (unsigned char)bytes[i];
	for (int i = 0; i < word_count; i++)
		if (words[i].length == length && memcmp(words[i].tokens, fresh.tokens, sizeof fresh.tokens) == 0) {
			words[i].count++;
			return;
		}
	if (word_count < WORDS_MAX)
		words[word_count++] = fresh;
}

// Runs of letters with the blank before them; nothing else is worth a token here.
static void read_words(FILE *in) {
	static char text[TEXT_MAX];
	size_t size = fread(text, 1, sizeof text, in), end;
	for (size_t start = 0; start < size; start = end) {
		for (end = start + 1; end < size && isalpha((unsigned char)text[end]); end++)
			;
		if ((text[start] == ' ' || isalpha((unsigned char)text[start])) && end - start > 1 && end - start <= WORD_MAX)
			add_word(text + start, (int)(end - start));
	}
}

// The most frequent pair of neighbours; false when none comes twice.
static bool find_pair(int tokens, int *left, int *right) {
	long most = 1;
	memset(pairs, 0, sizeof pairs);
	for (int w = 0; w < word_count; w++)
		for (int i = 0; i + 1 < words[w].length; i++)
			pairs[words[w].tokens[i]][words[w].tokens[i + 1]] += words[w].count;
	for (int a = 0; a < tokens; a++)
		for (int b = 0; b < tokens; b++)
			if (pairs[a][b] > most)
				most = pairs[a][b], *left = a, *right = b;
	return most > 1;
}

static void merge(int left, int right, int token) {
	for (int w = 0; w < word_count; w++) {
		word *it = &words[w];
		int kept = 0;
		for (int i = 0; i < it->length; i++) {
			bool pair = i + 1 < it->length && it->tokens[i] == left && it->tokens[i + 1] == right;
			it->tokens[kept++] = pair ? token : it->tokens[i];
			i += pair;
		}
		it->length = kept;
	}
}

// The token of that name, or the next new one: two pairs may make the same.
static int token_of(const char *name, int tokens) {
	int token = 0;
	while (token < tokens && strcmp(names[token], name) != 0)
		token++;
	return token;
}

// Writes each merge as it is found; *tokens: how many there are in the end.
static void learn(int merges, FILE *out, int *tokens) {
	int left, right;
	name_bytes();
	fputs("#version: 0.2\n", out);
	*tokens = 256;
	for (int i = 0; i < merges && find_pair(*tokens, &left, &right); i++) {
		char name[NAME_MAX_BYTES];
		snprintf(name, sizeof name, "%s%s", names[left], names[right]);
		int token = token_of(name, *tokens);
		*tokens += token == *tokens;
		memcpy(names[token], name, sizeof name);
		fprintf(out, "%s %s\n", names[left], names[right]);
		merge(left, right, token);
	}
}

static d2v_status write_names(const char *path, int tokens, d2v_error *err) {
	json_t *ids = json_object();
	d2v_status status = D2V_OK;
	for (int i = 0; i < tokens && status == D2V_OK; i++)
		status = d2v_json_set(ids, names[i], json_integer(i), err);
	if (status == D2V_OK)
		status = d2v_json_save(ids, path, err);
	json_decref(ids);
	return status;
}

static d2v_status make_tokenizer(const char *folder, int merges, d2v_error *err) {
	char path[4096], *text = NULL;
	size_t size;
	int tokens;
	D2V_TRY(d2v_file_make_directories(folder, err));
	FILE *out = open_memstream(&text, &size);
	if (!out)
		return d2v_fail(err, D2V_NO_MEMORY, "no memory for the merges");
	read_words(stdin);
	learn(merges, out, &tokens);
	fclose(out);
	snprintf(path, sizeof path, "%s/vocab.bpe", folder);
	d2v_status status = d2v_file_replace(path, text, size, err);
	free(text);
	snprintf(path, sizeof path, "%s/encoder.json", folder);
	return status == D2V_OK ? write_names(path, tokens, err) : status;
}

int main(int argc, char **argv) {
	d2v_error err;
	int merges = argc == 3 ? atoi(argv[2]) : 0;
	if (merges < 1 || merges > TOKENS_MAX - 256)
		return fprintf(stderr, "usage: learn_merges FOLDER MERGES < TEXT     with 1 to %d merges\n", TOKENS_MAX - 256),
			   2;
	if (make_tokenizer(argv[1], merges, &err) == D2V_OK)
		return 0;
	return fprintf(stderr, "learn_merges: %s\n", err.text), 1;
}
