#include "ingest/jsonl.h"

#include "base/memory.h"

#include <string.h>

#define DEPTH_MAX 60
#define KEY_MAX 256 // longer keys are not looked for
#define NOTHING (-1)
#define REPLACEMENT 0xFFFDu

enum state { AT_LINE, IN_STRING };

struct d2v_jsonl {
	d2v_bytes bytes;
	const char *field;
	const unsigned char *at, *end; // of the current block
	bool ended;
	d2v_status status; // of reading
	d2v_error error;
	bool begun; // the first byte was looked at
	enum state state;
	uint64_t line;
	const char *wrong; // what is wrong with the line; NULL so far
	char escaped[8];   // UTF-8 of an escape sequence in the wanted string
};

d2v_status d2v_jsonl_new(d2v_jsonl **jsonl, const d2v_bytes *bytes, const char *field, d2v_error *err) {
	D2V_TRY(d2v_alloc_zero(jsonl, 1, sizeof **jsonl, err));
	(*jsonl)->bytes = *bytes;
	(*jsonl)->field = field;
	(*jsonl)->line = 1;
	return D2V_OK;
}

void d2v_jsonl_free(d2v_jsonl *jsonl) {
	d2v_free(jsonl);
}

// ---- characters

static void refill(d2v_jsonl *jsonl) {
	const void *bytes = NULL;
	size_t size = 0;
	if (!jsonl->ended)
		jsonl->status = jsonl->bytes.read(jsonl->bytes.context, &bytes, &size, &jsonl->error);
	if (jsonl->status != D2V_OK || !size) {
		jsonl->ended = true;
		size = 0;
	}
	jsonl->at = bytes;
	jsonl->end = size ? jsonl->at + size : jsonl->at;
}

// The next byte without taking it, or NOTHING at the end.
static int peek(d2v_jsonl *jsonl) {
	if (jsonl->at == jsonl->end)
		refill(jsonl);
	return jsonl->at == jsonl->end ? NOTHING : *jsonl->at;
}

// False, and the line is bad.
static bool wrong(d2v_jsonl *jsonl, const char *why) {
	if (!jsonl->wrong)
		jsonl->wrong = why;
	return false;
}

static bool take(d2v_jsonl *jsonl, int byte) {
	if (peek(jsonl) != byte)
		return false;
	jsonl->at++;
	return true;
}

static bool expect(d2v_jsonl *jsonl, int byte) {
	return take(jsonl, byte) || wrong(jsonl, "no JSON object in one line, or cut off");
}

static int skip_space(d2v_jsonl *jsonl) {
	int byte;
	while ((byte = peek(jsonl)) == ' ' || byte == '\t' || byte == '\r')
		jsonl->at++;
	return byte;
}

// ---- strings

static size_t put_utf8(uint32_t code, char *out) {
	if (code < 0x80)
		return out[0] = (char)code, 1;
	size_t size = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
	for (size_t i = size - 1; i; i--, code >>= 6)
		out[i] = (char)(0x80 | (code & 0x3F));
	out[0] = (char)(0xF00u >> size | code);
	return size;
}

static bool read_hex(d2v_jsonl *jsonl, uint32_t *code) {
	*code = 0;
	for (int i = 0; i < 4; i++) {
		int byte = peek(jsonl), lower = byte | 0x20;
		if (!(byte >= '0' && byte <= '9') && !(lower >= 'a' && lower <= 'f'))
			return wrong(jsonl, "\\u without four hexadecimal digits");
		*code = *code << 4 | (uint32_t)(byte <= '9' ? byte - '0' : lower - 'a' + 10);
		jsonl->at++;
	}
	return true;
}

static bool is_low(uint32_t code) {
	return code >= 0xDC00 && code < 0xE000;
}

static bool is_high(uint32_t code) {
	return code >= 0xD800 && code < 0xDC00;
}

static bool read_escape(d2v_jsonl *jsonl, char *out, size_t *size);

// Behind \u: its character, and what may follow half of a pair. At most 6 bytes.
static bool read_unicode(d2v_jsonl *jsonl, char *out, size_t *size) {
	uint32_t code, second;
	if (!read_hex(jsonl, &code))
		return false;
	if (!is_high(code)) {
		*size += put_utf8(is_low(code) ? REPLACEMENT : code, out + *size);
		return true;
	}
	bool escape = take(jsonl, '\\'), unicode = escape && take(jsonl, 'u');
	if (unicode && !read_hex(jsonl, &second))
		return false;
	if (unicode && is_low(second)) {
		*size += put_utf8(0x10000 + ((code - 0xD800) << 10) + (second - 0xDC00), out + *size);
		return true;
	}
	*size += put_utf8(REPLACEMENT, out + *size);
	if (unicode)
		*size += put_utf8(is_high(second) ? REPLACEMENT : second, out + *size);
	return unicode || !escape || read_escape(jsonl, out, size);
}

// Behind a backslash.
static bool read_escape(d2v_jsonl *jsonl, char *out, size_t *size) {
	static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
	int byte = peek(jsonl);
	const char *name = byte > 0 ? strchr(names, byte) : NULL;
	if (take(jsonl, 'u'))
		return read_unicode(jsonl, out, size);
	if (!name)
		return wrong(jsonl, "a backslash before no character that JSON knows");
	jsonl->at++;
	out[(*size)++] = values[name - names];
	return true;
}

static bool is_plain(unsigned char byte) {
	return byte != '"' && byte != '\\' && byte >= 0x20;
}

// As many bytes from here on as are in this block and stand for themselves.
static size_t plain_bytes(const d2v_jsonl *jsonl) {
	const unsigned char *at = jsonl->at;
	while (at < jsonl->end && is_plain(*at))
		at++;
	return (size_t)(at - jsonl->at);
}

// Behind the opening quote, up to and with the closing one. key NULL: passed over; *size KEY_MAX: it is longer.
static bool read_string(d2v_jsonl *jsonl, char *key, size_t *size) {
	char escaped[8];
	*size = 0;
	for (;;) {
		const char *piece = escaped;
		size_t count = 0;
		if (peek(jsonl) == NOTHING)
			return wrong(jsonl, "cut off in a string");
		if (take(jsonl, '"'))
			return true;
		if (take(jsonl, '\\')) {
			if (!read_escape(jsonl, escaped, &count))
				return false;
		} else if (!(count = plain_bytes(jsonl)))
			return wrong(jsonl, "a control character, or the line's end, in a string");
		else
			piece = (const char *)jsonl->at, jsonl->at += count;
		if (key && count <= KEY_MAX - *size)
			memcpy(key + *size, piece, count), *size += count;
		else
			key = NULL, *size = KEY_MAX;
	}
}

// ---- values

static bool skip_word(d2v_jsonl *jsonl) {
	char word[40];
	size_t size = 0;
	for (int byte;
		 (byte = peek(jsonl)) > 0 && strchr("+-.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", byte);
		 jsonl->at++)
		if (size < sizeof word - 1)
			word[size++] = (char)byte;
	word[size] = '\0';
	if (strcmp(word, "true") == 0 || strcmp(word, "false") == 0 || strcmp(word, "null") == 0)
		return true;
	bool number =
		size && (word[0] == '-' || (word[0] >= '0' && word[0] <= '9')) && strspn(word, "+-.0123456789eE") == size;
	return number || wrong(jsonl, "a value that is no JSON");
}

static bool skip_key(d2v_jsonl *jsonl) {
	size_t size;
	skip_space(jsonl);
	if (!expect(jsonl, '"') || !read_string(jsonl, NULL, &size))
		return false;
	skip_space(jsonl);
	return expect(jsonl, ':');
}

// Objects and arrays that are open, the innermost one in the lowest bit: 1 for objects.
typedef struct nesting {
	uint64_t kinds;
	int depth;
} nesting;

// Begins a value. *whole: it has ended too.
static bool begin_value(d2v_jsonl *jsonl, nesting *open, bool *whole) {
	size_t size;
	int byte = skip_space(jsonl);
	*whole = true;
	if (take(jsonl, '"'))
		return read_string(jsonl, NULL, &size);
	if (byte != '{' && byte != '[')
		return skip_word(jsonl);
	if (open->depth == DEPTH_MAX)
		return wrong(jsonl, "nested too deeply");
	jsonl->at++;
	skip_space(jsonl);
	if (take(jsonl, byte == '{' ? '}' : ']'))
		return true;
	*whole = false;
	open->kinds = open->kinds << 1 | (byte == '{');
	open->depth++;
	return byte == '[' || skip_key(jsonl);
}

// After a value within something: the next one begins, or what encloses it ends.
static bool go_on(d2v_jsonl *jsonl, nesting *open, bool *whole) {
	bool object = open->kinds & 1;
	skip_space(jsonl);
	*whole = false;
	if (take(jsonl, ','))
		return !object || skip_key(jsonl);
	if (!expect(jsonl, object ? '}' : ']'))
		return false;
	*whole = true;
	open->kinds >>= 1;
	open->depth--;
	return true;
}

static bool skip_value(d2v_jsonl *jsonl) {
	nesting open = { 0 };
	bool whole = false;
	for (;;) {
		if (!whole && !begin_value(jsonl, &open, &whole))
			return false;
		if (whole && !open.depth)
			return true;
		if (whole && !go_on(jsonl, &open, &whole))
			return false;
	}
}

// ---- lines

// The members of the line's object from here on, up to the wanted string (*found) or the object's end. `again`: it was
// found before.
static bool find_field(d2v_jsonl *jsonl, bool again, bool *found) {
	char key[KEY_MAX];
	size_t size;
	*found = false;
	for (bool first = !again;; first = false) {
		skip_space(jsonl);
		if (take(jsonl, '}'))
			return true;
		if (!first && !expect(jsonl, ','))
			return false;
		skip_space(jsonl);
		if (!expect(jsonl, '"') || !read_string(jsonl, key, &size))
			return false;
		skip_space(jsonl);
		if (!expect(jsonl, ':'))
			return false;
		skip_space(jsonl);
		bool wanted = size < KEY_MAX && size == strlen(jsonl->field) && memcmp(key, jsonl->field, size) == 0;
		if (wanted && again)
			return wrong(jsonl, "the field is there twice");
		if (wanted && !take(jsonl, '"'))
			return wrong(jsonl, "the field is no string");
		*found = wanted;
		if (wanted)
			return true;
		if (!skip_value(jsonl))
			return false;
	}
}

static bool ends_here(d2v_jsonl *jsonl) {
	int byte = skip_space(jsonl);
	return byte == '\n' || byte == NOTHING || wrong(jsonl, "something follows the object");
}

static void skip_line(d2v_jsonl *jsonl) {
	while (peek(jsonl) != NOTHING) {
		const unsigned char *stop = memchr(jsonl->at, '\n', (size_t)(jsonl->end - jsonl->at));
		jsonl->at = stop ? stop + 1 : jsonl->end;
		if (stop)
			break;
	}
	jsonl->state = AT_LINE;
	jsonl->line++;
}

static void end_line(d2v_jsonl *jsonl, d2v_jsonl_event *event) {
	event->kind = jsonl->wrong ? D2V_JSONL_BAD : D2V_JSONL_END;
	event->line = jsonl->line;
	if (jsonl->wrong)
		d2v_reject(&event->rejection, D2V_REASON_BAD_TEXT, "%s", jsonl->wrong);
	jsonl->wrong = NULL;
	skip_line(jsonl);
}

// Begins a line. True: its string begins; false: the event is set.
static bool begin_line(d2v_jsonl *jsonl, d2v_jsonl_event *event) {
	bool found = false;
	while (skip_space(jsonl) == '\n')
		skip_line(jsonl);
	if (peek(jsonl) == NOTHING) {
		event->kind = D2V_JSONL_DONE;
		return false;
	}
	if (expect(jsonl, '{') && find_field(jsonl, false, &found) && !found && ends_here(jsonl))
		wrong(jsonl, "the field is not there");
	if (!found || jsonl->wrong) {
		end_line(jsonl, event);
		return false;
	}
	jsonl->state = IN_STRING;
	return true;
}

// The next bytes of the string, or the line's end.
static void go_on_string(d2v_jsonl *jsonl, d2v_jsonl_event *event) {
	bool found;
	event->kind = D2V_JSONL_TEXT;
	event->line = jsonl->line;
	peek(jsonl);
	if ((event->size = plain_bytes(jsonl))) {
		event->text = (const char *)jsonl->at;
		jsonl->at += event->size;
		return;
	}
	if (take(jsonl, '\\')) {
		event->text = jsonl->escaped;
		if (read_escape(jsonl, jsonl->escaped, &event->size))
			return;
	} else if (!expect(jsonl, '"'))
		jsonl->wrong = "a control character, or the line's end, in a string";
	else if (find_field(jsonl, true, &found))
		ends_here(jsonl);
	end_line(jsonl, event);
}

// A byte order mark is no part of the first line.
static void skip_mark(d2v_jsonl *jsonl) {
	if (!jsonl->begun && take(jsonl, 0xEF) && !(take(jsonl, 0xBB) && take(jsonl, 0xBF)))
		wrong(jsonl, "no JSON object");
	jsonl->begun = true;
}

d2v_status d2v_jsonl_next(d2v_jsonl *jsonl, d2v_jsonl_event *event, d2v_error *err) {
	*event = (d2v_jsonl_event){ 0 };
	if (jsonl->state == AT_LINE)
		skip_mark(jsonl);
	if (jsonl->state == IN_STRING || begin_line(jsonl, event))
		go_on_string(jsonl, event);
	if (jsonl->status != D2V_OK && err)
		*err = jsonl->error;
	return jsonl->status;
}
