// A small tokenizer for tests that have no real one: every byte, and a few merges of English.
//     helper_vocabulary FOLDER      writes encoder.json and vocab.bpe there
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

static const char *const merges[][2] = { { "t", "h" }, { "th", "e" }, { "\xC4\xA0", "the" }, { "i", "n" }, { "e", "r" },
	{ "in", "g" }, { "a", "n" }, { "an", "d" }, { "\xC4\xA0", "and" }, { "o", "n" }, { "o", "r" }, { "w", "or" } };

// GPT-2's characters for bytes.
static size_t character(unsigned byte, char out[4]) {
	unsigned code = byte, moved = 0;
	bool itself = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
	for (unsigned b = 0; b < byte; b++)
		moved += !((b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174);
	if (!itself)
		code = 256 + moved;
	if (code < 0x80)
		return out[0] = (char)code, out[1] = '\0', 1;
	out[0] = (char)(0xC0 | code >> 6), out[1] = (char)(0x80 | (code & 0x3F)), out[2] = '\0';
	return 2;
}

static d2v_status write(const char *folder, d2v_error *err) {
	char path[1024], name[64], text[1024] = "#version: 0.2\n";
	json_t *ids = json_object();
	for (unsigned byte = 0; byte < 256; byte++) {
		character(byte, name);
		json_object_set_new(ids, name, json_integer(byte));
	}
	for (size_t i = 0, id = 256; i < sizeof merges / sizeof *merges; i++) {
		snprintf(name, sizeof name, "%s%s", merges[i][0], merges[i][1]);
		json_object_set_new(ids, name, json_integer((json_int_t)id++));
		snprintf(text + strlen(text), sizeof text - strlen(text), "%s %s\n", merges[i][0], merges[i][1]);
	}
	D2V_TRY(d2v_file_make_directories(folder, err));
	snprintf(path, sizeof path, "%s/encoder.json", folder);
	d2v_status status = d2v_json_save(ids, path, err);
	json_decref(ids);
	snprintf(path, sizeof path, "%s/vocab.bpe", folder);
	return status == D2V_OK ? d2v_file_replace(path, text, strlen(text), err) : status;
}

int main(int argc, char **argv) {
	d2v_error err;
	if (argc == 2 && write(argv[1], &err) == D2V_OK)
		return 0;
	fprintf(stderr, "helper_vocabulary: %s\n", argc == 2 ? err.text : "usage: helper_vocabulary FOLDER");
	return 1;
}
