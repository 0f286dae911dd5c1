#include "ingest/audio_file.h"

#include "base/hash.h"
#include "base/memory.h"
#include "ingest/container_check.h"
#include "ingest/flac_header.h"
#include "ingest/resampler.h"

#include <math.h>
#include <sndfile.h>
#include <stdio.h>
#include <string.h>

#define BLOCK_FRAMES 8192
#define CHANNELS_MAX 64
#define RATE_MIN 1000
#define RATE_MAX 768000

typedef struct view {
	const unsigned char *bytes;
	sf_count_t size, at;
} view;

struct d2v_audio_file {
	view view;
	SNDFILE *sound;
	SF_INFO info;
	d2v_audio_limits limits;
	bool is_flac;
	bool plain;         // mono, 16 bit, at the wanted rate
	bool length_stated; // false: a stream that does not say how long it is
	d2v_flac_header flac;
};

static sf_count_t view_size(void *context) {
	return ((view *)context)->size;
}

static sf_count_t view_seek(sf_count_t offset, int whence, void *context) {
	view *v = context;
	sf_count_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? v->at : v->size, to;
	if (__builtin_add_overflow(base, offset, &to) || to < 0 || to > v->size)
		return -1;
	return v->at = to;
}

static sf_count_t view_read(void *into, sf_count_t count, void *context) {
	view *v = context;
	if (count > v->size - v->at)
		count = v->size - v->at;
	if (count <= 0)
		return 0;
	memcpy(into, v->bytes + v->at, (size_t)count);
	v->at += count;
	return count;
}

static sf_count_t view_write(const void *from, sf_count_t count, void *context) {
	(void)from, (void)count, (void)context;
	return 0;
}

static sf_count_t view_tell(void *context) {
	return ((view *)context)->at;
}

static SF_VIRTUAL_IO view_io = { view_size, view_seek, view_read, view_write, view_tell };

static d2v_reason check_facts(d2v_audio_file *file, d2v_rejection *rejection) {
	const SF_INFO *info = &file->info;
	if (info->channels < 1 || info->channels > CHANNELS_MAX)
		return d2v_reject(rejection, D2V_REASON_UNDECODABLE, "%d channels", info->channels);
	if (info->samplerate < RATE_MIN || info->samplerate > RATE_MAX)
		return d2v_reject(rejection, D2V_REASON_UNDECODABLE, "%d samples per second", info->samplerate);
	file->length_stated = info->frames > 0 && info->frames < SF_COUNT_MAX;
	if (info->frames < 0 || (!info->frames && !(file->is_flac && !file->flac.samples)))
		return d2v_reject(rejection, D2V_REASON_UNDECODABLE, "no samples");
	double samples = (double)info->frames * file->limits.rate / info->samplerate;
	if (file->length_stated && !(samples <= (double)file->limits.max_samples))
		return d2v_reject(rejection, D2V_REASON_TOO_LONG, "%.0f seconds; --max-seconds is %.0f",
			(double)info->frames / info->samplerate, (double)file->limits.max_samples / file->limits.rate);
	if (!file->is_flac)
		return D2V_REASON_NONE;
	const char *wrong = d2v_flac_header_contradiction(file->view.bytes, (size_t)file->view.size, &file->flac);
	return wrong ? d2v_reject(rejection, D2V_REASON_UNDECODABLE, "%s", wrong) : D2V_REASON_NONE;
}

d2v_status d2v_audio_file_open(d2v_audio_file **opened, const void *bytes, size_t size, const d2v_audio_limits *limits,
	d2v_rejection *rejection, d2v_error *err) {
	*opened = NULL;
	const char *cut = d2v_container_check(bytes, size);
	if (cut) {
		d2v_reject(rejection, D2V_REASON_UNDECODABLE, "%s", cut);
		return D2V_OK;
	}
	d2v_audio_file *file;
	D2V_TRY(d2v_alloc_zero(&file, 1, sizeof *file, err));
	file->view = (view){ .bytes = bytes, .size = (sf_count_t)size };
	file->limits = *limits;
	file->is_flac = d2v_flac_header_parse(bytes, size, &file->flac);
	file->sound = sf_open_virtual(&view_io, SFM_READ, &file->info, &file->view);
	if (!file->sound)
		d2v_reject(rejection, D2V_REASON_UNDECODABLE, "%s",
			size ? "no audio file that libsndfile knows, or damaged at its start" : "empty");
	else if (check_facts(file, rejection) == D2V_REASON_NONE) {
		int container = file->info.format & SF_FORMAT_TYPEMASK, width = file->info.format & SF_FORMAT_SUBMASK;
		file->is_flac = container == SF_FORMAT_FLAC;
		file->plain =
			file->info.channels == 1 && width == SF_FORMAT_PCM_16 && (uint32_t)file->info.samplerate == limits->rate;
		*opened = file;
		return D2V_OK;
	}
	d2v_audio_file_close(file);
	return D2V_OK;
}

uint64_t d2v_audio_file_bound(const d2v_audio_file *file) {
	if (!file->length_stated)
		return file->limits.max_samples;
	// A resampler may round up, and give a little for the end of its filter.
	uint64_t slack = file->plain ? 0 : 64;
	return (uint64_t)((double)file->info.frames * file->limits.rate / file->info.samplerate) + slack;
}

bool d2v_audio_file_is_plain_flac(const d2v_audio_file *file) {
	return file->is_flac && file->plain;
}

static d2v_reason check_end(d2v_audio_file *file, sf_count_t frames, d2v_rejection *rejection) {
	int problem = sf_error(file->sound);
	if (problem != SF_ERR_NO_ERROR)
		return d2v_reject(rejection, D2V_REASON_UNDECODABLE, "%s", sf_error_number(problem));
	if (file->length_stated && frames != file->info.frames)
		return d2v_reject(rejection, D2V_REASON_UNDECODABLE, "damaged or cut off: %lld samples of %lld",
			(long long)frames, (long long)file->info.frames);
	if (!frames)
		return d2v_reject(rejection, D2V_REASON_UNDECODABLE, "no samples");
	return D2V_REASON_NONE;
}

static d2v_status check_md5(
	d2v_audio_file *file, const int16_t *samples, size_t count, d2v_rejection *rejection, d2v_error *err) {
	static const unsigned char unset[16];
	const unsigned char *stated = file->view.bytes + file->flac.md5_at;
	if (memcmp(stated, unset, sizeof unset) == 0)
		return D2V_OK;
	d2v_checksum *sum;
	char hex[D2V_HASH_HEX], wanted[33];
	D2V_TRY(d2v_checksum_new(&sum, D2V_MD5, err));
	d2v_status status = d2v_checksum_add(sum, samples, count * sizeof *samples, err);
	if (status == D2V_OK)
		status = d2v_checksum_hex(sum, hex, err);
	d2v_checksum_free(sum);
	for (int i = 0; i < 16; i++)
		snprintf(wanted + 2 * i, 3, "%02x", stated[i]);
	if (status == D2V_OK && strcmp(hex, wanted) != 0)
		d2v_reject(rejection, D2V_REASON_UNDECODABLE, "the MD5 of its samples is not the one in its header");
	return status;
}

static d2v_status read_plain(d2v_audio_file *file, int16_t **samples, size_t *capacity, uint64_t *count,
	d2v_rejection *rejection, d2v_error *err) {
	sf_count_t have = 0, got;
	size_t room = file->length_stated ? (size_t)file->info.frames : BLOCK_FRAMES;
	do {
		D2V_TRY(d2v_reserve(samples, capacity, (size_t)have + room, sizeof **samples, err));
		got = sf_readf_short(file->sound, *samples + have, (sf_count_t)room);
		have += got;
		if ((uint64_t)have > file->limits.max_samples) {
			d2v_reject(rejection, D2V_REASON_TOO_LONG, "more than %.0f seconds (--max-seconds)",
				(double)file->limits.max_samples / file->limits.rate);
			return D2V_OK;
		}
	} while (got == (sf_count_t)room && !file->length_stated);
	*count = (uint64_t)have;
	if (check_end(file, have, rejection) == D2V_REASON_NONE && file->limits.check_md5 && file->is_flac)
		return check_md5(file, *samples, (size_t)have, rejection, err);
	return D2V_OK;
}

// The mean of the channels, in place. False: something is no number.
static bool mix(float *block, sf_count_t frames, int channels) {
	bool sane = true;
	for (sf_count_t i = 0; i < frames; i++) {
		float sum = 0;
		for (int c = 0; c < channels; c++)
			sum += block[i * channels + c];
		block[i] = channels == 1 ? sum : sum / (float)channels;
		sane &= fabsf(block[i]) < 1e6f; // false for NaN and infinity; louder than this is no audio
	}
	return sane;
}

typedef struct output {
	int16_t **samples;
	size_t *capacity, count;
} output;

static d2v_status put(output *out, const float *block, size_t count, d2v_error *err) {
	D2V_TRY(d2v_reserve(out->samples, out->capacity, out->count + count, sizeof **out->samples, err));
	int16_t *to = *out->samples + out->count;
	for (size_t i = 0; i < count; i++) {
		float value = block[i] * 32768.0f;
		to[i] = (int16_t)lrintf(value < -32768.0f ? -32768.0f : value > 32767.0f ? 32767.0f : value);
	}
	out->count += count;
	return D2V_OK;
}

// block: frames samples to go in (NULL: the end); work: room for BLOCK_FRAMES to come out.
static d2v_status resample(
	d2v_resampler *resampler, const float *block, size_t frames, float *work, output *out, d2v_error *err) {
	for (size_t at = 0, given = BLOCK_FRAMES; at < frames || given == BLOCK_FRAMES;) {
		size_t taken = 0;
		D2V_TRY(d2v_resampler_process(
			resampler, block ? block + at : NULL, frames - at, &taken, work, BLOCK_FRAMES, &given, err));
		at += taken;
		D2V_TRY(put(out, work, given, err));
		if (block && !taken && !given)
			break; // takes nothing and has nothing: cannot happen, but must not hang
	}
	return D2V_OK;
}

static d2v_status read_any(d2v_audio_file *file, d2v_resampler *resampler, float *block, float *work, output *out,
	d2v_rejection *rejection, d2v_error *err) {
	sf_count_t frames = 0, got;
	do {
		got = sf_readf_float(file->sound, block, BLOCK_FRAMES);
		frames += got;
		if (!mix(block, got, file->info.channels)) {
			d2v_reject(rejection, D2V_REASON_UNDECODABLE, "samples that are no numbers, or out of all bounds");
			return D2V_OK;
		}
		if (resampler && got)
			D2V_TRY(resample(resampler, block, (size_t)got, work, out, err));
		else
			D2V_TRY(put(out, block, (size_t)got, err));
		if (out->count > file->limits.max_samples) {
			d2v_reject(rejection, D2V_REASON_TOO_LONG, "more than %.0f seconds (--max-seconds)",
				(double)file->limits.max_samples / file->limits.rate);
			return D2V_OK;
		}
	} while (got == BLOCK_FRAMES);
	if (check_end(file, frames, rejection) != D2V_REASON_NONE || !resampler)
		return D2V_OK;
	D2V_TRY(resample(resampler, NULL, 0, work, out, err));
	if (!out->count)
		d2v_reject(rejection, D2V_REASON_UNDECODABLE, "too short to be resampled");
	return D2V_OK;
}

d2v_status d2v_audio_file_read(d2v_audio_file *file, int16_t **samples, size_t *capacity, uint64_t *count,
	d2v_rejection *rejection, d2v_error *err) {
	*count = 0;
	if (file->length_stated)
		D2V_TRY(d2v_reserve(samples, capacity, (size_t)d2v_audio_file_bound(file), sizeof **samples, err));
	if (file->plain)
		return read_plain(file, samples, capacity, count, rejection, err);
	float *block = NULL, *work = NULL;
	d2v_resampler *resampler = NULL;
	output out = { .samples = samples, .capacity = capacity };
	d2v_status status = d2v_alloc(&block, (size_t)BLOCK_FRAMES * (size_t)file->info.channels, sizeof *block, err);
	if (status == D2V_OK)
		status = d2v_alloc(&work, BLOCK_FRAMES, sizeof *work, err);
	if (status == D2V_OK && (uint32_t)file->info.samplerate != file->limits.rate)
		status = d2v_resampler_new(&resampler, file->info.samplerate, file->limits.rate, err);
	if (status == D2V_OK)
		status = read_any(file, resampler, block, work, &out, rejection, err);
	*count = out.count;
	d2v_resampler_free(resampler);
	d2v_free(work);
	d2v_free(block);
	return status;
}

void d2v_audio_file_close(d2v_audio_file *file) {
	if (!file)
		return;
	if (file->sound)
		sf_close(file->sound);
	d2v_free(file);
}
