#include "shards/codec_audio.h"

#include "base/memory.h"

#include <endian.h>
#include <limits.h>
#include <sndfile.h>
#include <string.h>

#define WAV_HEADER 44

static d2v_status check_range(const d2v_record *record, uint64_t start, uint64_t count, d2v_error *err) {
	if (start > record->units || count > record->units - start)
		return d2v_fail(err, D2V_INVALID, "samples %llu to %llu of %llu asked for", (unsigned long long)start,
			(unsigned long long)(start + count), (unsigned long long)record->units);
	return D2V_OK;
}

static d2v_status check_pcm(const d2v_record *record, d2v_error *err) {
	if (record->payload_size % sizeof(int16_t) || record->payload_size / sizeof(int16_t) != record->units)
		return d2v_fail(err, D2V_CORRUPT, "%llu bytes cannot be %llu samples", (unsigned long long)record->payload_size,
			(unsigned long long)record->units);
	return D2V_OK;
}

static void samples_from_little_endian(int16_t *samples, const void *bytes, size_t count) {
	memcpy(samples, bytes, count * sizeof *samples);
	if (BYTE_ORDER == BIG_ENDIAN)
		for (size_t i = 0; i < count; i++)
			samples[i] = (int16_t)le16toh((uint16_t)samples[i]);
}

static void samples_to_little_endian(void *bytes, const int16_t *samples, size_t count) {
	if (count)
		memcpy(bytes, samples, count * sizeof *samples);
	if (BYTE_ORDER == BIG_ENDIAN)
		for (size_t i = 0; i < count; i++) {
			uint16_t sample = htole16((uint16_t)samples[i]);
			memcpy((unsigned char *)bytes + i * sizeof sample, &sample, sizeof sample);
		}
}

const int16_t *d2v_codec_audio_view(const d2v_record *record) {
	if (record->codec != D2V_CODEC_PCM16 || BYTE_ORDER != LITTLE_ENDIAN || check_pcm(record, NULL) != D2V_OK ||
		(uintptr_t)record->payload % sizeof(int16_t))
		return NULL;
	return record->payload;
}

// A file in memory, as libsndfile wants it: grows while it is written, ends while it is read.
typedef struct memory_file {
	unsigned char *bytes;
	sf_count_t size, at;
	size_t capacity;
	d2v_status status; // of the writing
	d2v_error *err;
} memory_file;

static sf_count_t memory_length(void *context) {
	return ((memory_file *)context)->size;
}

static sf_count_t memory_tell(void *context) {
	return ((memory_file *)context)->at;
}

static sf_count_t memory_seek(sf_count_t offset, int whence, void *context) {
	memory_file *file = context;
	sf_count_t from = whence == SEEK_CUR ? file->at : whence == SEEK_END ? file->size : 0, to;
	if (__builtin_add_overflow(from, offset, &to) || to < 0 || to > file->size)
		return -1;
	return file->at = to;
}

static sf_count_t memory_read(void *out, sf_count_t count, void *context) {
	memory_file *file = context;
	sf_count_t left = file->size - file->at;
	if (count > left)
		count = left;
	if (count <= 0)
		return 0;
	memcpy(out, file->bytes + file->at, (size_t)count);
	file->at += count;
	return count;
}

static sf_count_t memory_write(const void *bytes, sf_count_t count, void *context) {
	memory_file *file = context;
	if (file->status != D2V_OK || count <= 0)
		return 0;
	file->status = d2v_reserve(&file->bytes, &file->capacity, (size_t)(file->at + count), 1, file->err);
	if (file->status != D2V_OK)
		return 0;
	memcpy(file->bytes + file->at, bytes, (size_t)count);
	file->at += count;
	if (file->at > file->size)
		file->size = file->at;
	return count;
}

static SF_VIRTUAL_IO memory_io = {
	.get_filelen = memory_length,
	.seek = memory_seek,
	.read = memory_read,
	.write = memory_write,
	.tell = memory_tell,
};

static d2v_status read_flac(const d2v_record *record, uint64_t start, uint64_t count, int16_t *out, d2v_error *err) {
	d2v_status status = D2V_OK;
	SF_INFO info = { 0 };
	// libsndfile only reads through `bytes`; its interface has no const.
	union {
		const void *read_only;
		unsigned char *bytes;
	} payload = { .read_only = record->payload };
	memory_file file = { .bytes = payload.bytes, .size = (sf_count_t)record->payload_size };
	SNDFILE *sound = sf_open_virtual(&memory_io, SFM_READ, &info, &file);
	if (!sound)
		return d2v_fail(err, D2V_CORRUPT, "its payload is no FLAC stream: %s", sf_strerror(NULL));
	if ((info.format & SF_FORMAT_TYPEMASK) != SF_FORMAT_FLAC || info.channels != 1 || info.frames < 0 ||
		(uint64_t)info.frames != record->units)
		status = d2v_fail(
			err, D2V_CORRUPT, "its payload is no FLAC stream of %llu mono samples", (unsigned long long)record->units);
	else if (start && sf_seek(sound, (sf_count_t)start, SEEK_SET) != (sf_count_t)start)
		status =
			d2v_fail(err, D2V_CORRUPT, "sample %llu of its FLAC stream cannot be found", (unsigned long long)start);
	else if (sf_read_short(sound, out, (sf_count_t)count) != (sf_count_t)count)
		status = d2v_fail(err, D2V_CORRUPT, "its FLAC stream ends early: %s", sf_strerror(sound));
	sf_close(sound);
	return status;
}

d2v_status d2v_codec_audio_read(
	const d2v_record *record, uint64_t start, uint64_t count, int16_t *out, d2v_error *err) {
	D2V_TRY(check_range(record, start, count, err));
	if (record->codec == D2V_CODEC_PCM16) {
		D2V_TRY(check_pcm(record, err));
		if (count)
			samples_from_little_endian(out, (const unsigned char *)record->payload + start * sizeof *out, count);
		return D2V_OK;
	}
	if (record->codec == D2V_CODEC_FLAC)
		return read_flac(record, start, count, out, err);
	return d2v_fail(err, D2V_UNSUPPORTED, "%s is not a codec of sound", d2v_codec_name((d2v_codec)record->codec));
}

d2v_status d2v_codec_flac_encode(
	const int16_t *samples, uint64_t count, uint32_t rate, void **bytes, size_t *size, d2v_error *err) {
	d2v_status status = D2V_OK;
	SF_INFO info = { .samplerate = (int)rate, .channels = 1, .format = SF_FORMAT_FLAC | SF_FORMAT_PCM_16 };
	memory_file file = { .err = err };
	*bytes = NULL;
	*size = 0;
	if (rate < 1 || rate > 655350) // what a FLAC header can say
		return d2v_fail(err, D2V_INVALID, "FLAC has no rate of %u samples per second", rate);
	if (count < 1 || count > D2V_RECORD_PAYLOAD_MAX / sizeof *samples)
		return d2v_fail(err, D2V_INVALID, "%llu samples are not what a record can hold", (unsigned long long)count);
	SNDFILE *sound = sf_open_virtual(&memory_io, SFM_WRITE, &info, &file);
	if (!sound)
		status = file.status != D2V_OK
					 ? file.status
					 : d2v_fail(err, D2V_UNSUPPORTED, "FLAC cannot be encoded: %s", sf_strerror(NULL));
	else if (sf_write_short(sound, samples, (sf_count_t)count) != (sf_count_t)count)
		status = file.status != D2V_OK ? file.status
									   : d2v_fail(err, D2V_IO, "FLAC cannot be encoded: %s", sf_strerror(sound));
	if (sound)
		sf_close(sound); // writes the last block and the header
	if (status == D2V_OK)
		status = file.status;
	if (status != D2V_OK) {
		d2v_free(file.bytes);
		return status;
	}
	*bytes = file.bytes;
	*size = (size_t)file.size;
	return D2V_OK;
}

static void put32(unsigned char *at, uint32_t value) {
	value = htole32(value);
	memcpy(at, &value, sizeof value);
}

d2v_status d2v_codec_wav_encode(
	const int16_t *samples, uint64_t count, uint32_t rate, void **bytes, size_t *size, d2v_error *err) {
	static const unsigned char template[WAV_HEADER] =
		"RIFF\0\0\0\0WAVEfmt \20\0\0\0\1\0\1\0\0\0\0\0\0\0\0\0\2\0\20\0data";
	unsigned char *file;
	*bytes = NULL;
	*size = 0;
	if (count > (UINT32_MAX - WAV_HEADER) / sizeof *samples)
		return d2v_fail(err, D2V_INVALID, "%llu samples are more than a WAV file holds", (unsigned long long)count);
	uint32_t data = (uint32_t)(count * sizeof *samples);
	D2V_TRY(d2v_alloc(&file, WAV_HEADER + (size_t)data, 1, err));
	memcpy(file, template, WAV_HEADER);
	put32(file + 4, WAV_HEADER - 8 + data);
	put32(file + 24, rate);
	put32(file + 28, rate * (uint32_t)sizeof *samples);
	put32(file + 40, data);
	samples_to_little_endian(file + WAV_HEADER, samples, count);
	*bytes = file;
	*size = WAV_HEADER + (size_t)data;
	return D2V_OK;
}
