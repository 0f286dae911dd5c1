#include "shards/record.h"

#include "base/hash.h"
#include "base/memory.h"

#include <endian.h>
#include <string.h>

#define MAGIC 0x72763264u // "d2vr"

typedef struct header { // as it lies on disk, every field little-endian
	uint32_t magic;
	uint8_t schema, codec, flags, zero0;
	uint64_t digest;
	uint32_t label, rate, rows, name_size, text_size, zero1;
	uint64_t payload_size, units, zero2;
} header;
_Static_assert(sizeof(header) == D2V_RECORD_HEADER, "the header is 64 bytes without padding");

static const char *const codec_names[] = { [D2V_CODEC_PCM16] = "pcm16",
	[D2V_CODEC_FLAC] = "flac",
	[D2V_CODEC_JPEG] = "jpeg",
	[D2V_CODEC_RGB8] = "rgb8",
	[D2V_CODEC_TOK16] = "tok16",
	[D2V_CODEC_TOK32] = "tok32",
	[D2V_CODEC_PNG] = "png" };
#define CODEC_END (sizeof codec_names / sizeof *codec_names)

static bool is_codec(unsigned codec) {
	return codec > 0 && codec < CODEC_END;
}

const char *d2v_codec_name(d2v_codec codec) {
	return is_codec(codec) ? codec_names[codec] : "unknown";
}

d2v_status d2v_codec_from_name(const char *name, d2v_codec *codec, d2v_error *err) {
	for (unsigned i = 1; i < CODEC_END; i++) {
		if (strcmp(name, codec_names[i]) == 0) {
			*codec = (d2v_codec)i;
			return D2V_OK;
		}
	}
	return d2v_fail(
		err, D2V_INVALID, "'%s' is no codec; there are pcm16, flac, jpeg, png, rgb8, tok16 and tok32", name);
}

// Bytes of the UTF-8 sequence at text (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF), 0 when
// there is none.
static size_t sequence_length(const unsigned char *text, size_t left) {
	unsigned char lead = text[0], low = 0x80, high = 0xBF;
	size_t length;
	if (lead < 0x80)
		return lead != 0;
	if (lead >= 0xC2 && lead <= 0xDF)
		length = 2;
	else if (lead >= 0xE0 && lead <= 0xEF)
		length = 3;
	else if (lead >= 0xF0 && lead <= 0xF4)
		length = 4;
	else
		return 0;
	if (lead == 0xE0)
		low = 0xA0;
	if (lead == 0xED)
		high = 0x9F;
	if (lead == 0xF0)
		low = 0x90;
	if (lead == 0xF4)
		high = 0x8F;
	if (left < length || text[1] < low || text[1] > high)
		return 0;
	for (size_t i = 2; i < length; i++)
		if ((text[i] & 0xC0) != 0x80)
			return 0;
	return length;
}

bool d2v_record_is_text(const char *text, size_t size) {
	const unsigned char *bytes = (const unsigned char *)text;
	for (size_t i = 0; i < size;) {
		size_t length = sequence_length(bytes + i, size - i);
		if (!length)
			return false;
		i += length;
	}
	return true;
}

static uint64_t payload_offset(uint64_t name_size, uint64_t text_size) {
	uint64_t end = D2V_RECORD_HEADER + name_size + text_size;
	return (end + D2V_RECORD_ALIGN - 1) / D2V_RECORD_ALIGN * D2V_RECORD_ALIGN;
}

d2v_status d2v_record_size(const d2v_record *record, size_t *size, d2v_error *err) {
	*size = 0;
	if (!is_codec(record->codec))
		return d2v_fail(err, D2V_INVALID, "%u is no codec", record->codec);
	if (record->name_size < 1 || record->name_size > D2V_RECORD_NAME_MAX)
		return d2v_fail(err, D2V_INVALID, "the name has %u bytes, not 1 to %d", record->name_size, D2V_RECORD_NAME_MAX);
	if (record->text_size > D2V_RECORD_TEXT_MAX)
		return d2v_fail(
			err, D2V_INVALID, "the text has %u bytes, more than %u", record->text_size, D2V_RECORD_TEXT_MAX);
	if (record->payload_size > D2V_RECORD_PAYLOAD_MAX)
		return d2v_fail(err, D2V_INVALID, "the payload has %llu bytes, more than %u",
			(unsigned long long)record->payload_size, D2V_RECORD_PAYLOAD_MAX);
	if (!d2v_record_is_text(record->name, record->name_size))
		return d2v_fail(err, D2V_INVALID, "the name is not UTF-8 or has a NUL");
	if (!d2v_record_is_text(record->text, record->text_size))
		return d2v_fail(err, D2V_INVALID, "the text is not UTF-8 or has a NUL");
	*size = payload_offset(record->name_size, record->text_size) + record->payload_size;
	return D2V_OK;
}

static uint64_t digest_of(header head, const unsigned char *rest, size_t size) {
	head.digest = 0;
	return d2v_hash64_seeded(rest, size, d2v_hash64(&head, sizeof head));
}

static void copy_part(unsigned char *to, const void *from, size_t size) {
	if (size)
		memcpy(to, from, size);
}

void d2v_record_encode(d2v_record *record, void *out) {
	unsigned char *bytes = out;
	size_t text_at = D2V_RECORD_HEADER + record->name_size, text_end = text_at + record->text_size;
	size_t payload_at = payload_offset(record->name_size, record->text_size);
	header head = {
		.magic = htole32(MAGIC),
		.schema = D2V_RECORD_SCHEMA,
		.codec = record->codec,
		.flags = record->flags,
		.label = htole32((uint32_t)record->label),
		.rate = htole32(record->rate),
		.rows = htole32(record->rows),
		.name_size = htole32(record->name_size),
		.text_size = htole32(record->text_size),
		.payload_size = htole64(record->payload_size),
		.units = htole64(record->units),
	};
	copy_part(bytes + D2V_RECORD_HEADER, record->name, record->name_size);
	copy_part(bytes + text_at, record->text, record->text_size);
	memset(bytes + text_end, 0, payload_at - text_end);
	copy_part(bytes + payload_at, record->payload, record->payload_size);
	record->digest = digest_of(head, bytes + sizeof head, payload_at + record->payload_size - sizeof head);
	head.digest = htole64(record->digest);
	memcpy(bytes, &head, sizeof head);
}

static bool all_zero(const unsigned char *bytes, size_t size) {
	while (size && (uintptr_t)bytes % sizeof(uint64_t)) {
		if (*bytes)
			return false;
		bytes++, size--;
	}
	uint64_t any = 0;
	for (; size >= sizeof any; bytes += sizeof any, size -= sizeof any) {
		uint64_t word;
		memcpy(&word, bytes, sizeof word);
		any |= word;
	}
	for (; size; bytes++, size--)
		any |= *bytes;
	return any == 0;
}

// Bounds first, so that the sizes of a damaged header lead nowhere; sets *payload_at and *used.
static d2v_status check_lengths(const header *head, size_t size, size_t *payload_at, size_t *used, d2v_error *err) {
	uint32_t name_size = le32toh(head->name_size), text_size = le32toh(head->text_size);
	uint64_t payload_size = le64toh(head->payload_size);
	if (le32toh(head->magic) != MAGIC)
		return d2v_fail(err, D2V_CORRUPT, "does not begin as a record does");
	if (name_size > D2V_RECORD_NAME_MAX || text_size > D2V_RECORD_TEXT_MAX || payload_size > D2V_RECORD_PAYLOAD_MAX)
		return d2v_fail(err, D2V_CORRUPT, "the lengths in its header are impossible");
	*payload_at = payload_offset(name_size, text_size);
	*used = *payload_at + payload_size;
	if (*used > size)
		return d2v_fail(err, D2V_CORRUPT, "is said to have %zu bytes, of which %zu are there", *used, size);
	return D2V_OK;
}

d2v_status d2v_record_parse(const void *bytes, size_t size, bool verify, d2v_record *record, d2v_error *err) {
	const unsigned char *at = bytes;
	header head;
	size_t payload_at = 0, used = 0;
	memset(record, 0, sizeof *record);
	if (size < sizeof head)
		return d2v_fail(err, D2V_CORRUPT, "has %zu bytes, fewer than a header", size);
	memcpy(&head, at, sizeof head);
	D2V_TRY(check_lengths(&head, size, &payload_at, &used, err));
	if (verify && digest_of(head, at + sizeof head, used - sizeof head) != le64toh(head.digest))
		return d2v_fail(err, D2V_CORRUPT, "its digest differs");
	if (head.schema != D2V_RECORD_SCHEMA)
		return d2v_fail(err, D2V_UNSUPPORTED, "has schema %u, this program reads %d", head.schema, D2V_RECORD_SCHEMA);
	if (!is_codec(head.codec) || head.name_size == 0)
		return d2v_fail(err, D2V_CORRUPT, "its header has impossible values");
	*record = (d2v_record){
		.codec = head.codec,
		.flags = head.flags,
		.label = (int32_t)le32toh(head.label),
		.rate = le32toh(head.rate),
		.rows = le32toh(head.rows),
		.units = le64toh(head.units),
		.name = (const char *)at + D2V_RECORD_HEADER,
		.name_size = le32toh(head.name_size),
		.text_size = le32toh(head.text_size),
		.payload = at + payload_at,
		.payload_size = le64toh(head.payload_size),
		.digest = le64toh(head.digest),
	};
	record->text = record->name + record->name_size;
	if (verify && !all_zero(at + used, size - used))
		return d2v_fail(err, D2V_CORRUPT, "the bytes after its end are not zero");
	if (verify &&
		(!d2v_record_is_text(record->name, record->name_size) || !d2v_record_is_text(record->text, record->text_size)))
		return d2v_fail(err, D2V_CORRUPT, "its name or text is not UTF-8");
	return D2V_OK;
}
