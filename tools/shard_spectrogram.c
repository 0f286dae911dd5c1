#include "tools/shard_spectrogram.h"

#include "base/memory.h"
#include "shards/codec_audio.h"

#include <math.h>
#include <string.h>

#define WINDOW_SECONDS 0.025
#define WINDOW_MAX 8192
#define LOWEST_HZ 40.0
#define RANGE_DB 65.0
#define PREEMPHASIS 0.97f
#define BRIGHT_SHARE 0.002  // of the pixels are as bright as can be, so that a click does not darken the rest
#define FRAMES_PER_COLUMN 4 // at most so many windows are averaged where columns are further apart than windows
#define SAMPLES_MAX ((uint64_t)1 << 31)

typedef struct spectrum {
	uint32_t size;                   // of the window, a power of two
	float *window, *cosines, *sines; // (size), (size / 2) each
	float *real, *imaginary;         // (size)
	float *power;                    // (size / 2 + 1), summed over frames
} spectrum;

static void release(spectrum *self) {
	d2v_free(self->window);
	d2v_free(self->cosines);
	d2v_free(self->sines);
	d2v_free(self->real);
	d2v_free(self->imaginary);
	d2v_free(self->power);
}

static d2v_status init(spectrum *self, uint32_t rate, d2v_error *err) {
	*self = (spectrum){ .size = 64 };
	while (self->size < WINDOW_MAX && self->size < rate * WINDOW_SECONDS)
		self->size *= 2;
	D2V_TRY(d2v_alloc(&self->window, self->size, sizeof(float), err));
	D2V_TRY(d2v_alloc(&self->cosines, self->size / 2, sizeof(float), err));
	D2V_TRY(d2v_alloc(&self->sines, self->size / 2, sizeof(float), err));
	D2V_TRY(d2v_alloc(&self->real, self->size, sizeof(float), err));
	D2V_TRY(d2v_alloc(&self->imaginary, self->size, sizeof(float), err));
	D2V_TRY(d2v_alloc(&self->power, self->size / 2 + 1, sizeof(float), err));
	for (uint32_t i = 0; i < self->size; i++)
		self->window[i] = (float)(.5 - .5 * cos(2 * M_PI * (i + .5) / self->size));
	for (uint32_t i = 0; i < self->size / 2; i++) {
		self->cosines[i] = (float)cos(2 * M_PI * i / self->size);
		self->sines[i] = (float)-sin(2 * M_PI * i / self->size);
	}
	return D2V_OK;
}

static uint32_t reversed(uint32_t value, uint32_t size) {
	uint32_t out = 0;
	for (uint32_t bit = 1; bit < size; bit *= 2)
		out = out * 2 + ((value & bit) != 0);
	return out;
}

// Decimation in time; the input lies in bit-reversed order.
static void transform(spectrum *self) {
	float *re = self->real, *im = self->imaginary;
	for (uint32_t half = 1; half < self->size; half *= 2) {
		uint32_t step = self->size / (2 * half);
		for (uint32_t start = 0; start < self->size; start += 2 * half)
			for (uint32_t k = 0; k < half; k++) {
				uint32_t a = start + k, b = a + half;
				float c = self->cosines[k * step], s = self->sines[k * step];
				float r = re[b] * c - im[b] * s, i = re[b] * s + im[b] * c;
				re[b] = re[a] - r;
				im[b] = im[a] - i;
				re[a] += r;
				im[a] += i;
			}
	}
}

// Adds the power spectrum of the window around `centre`; outside of the sound is silence.
static void add_frame(spectrum *self, const int16_t *samples, uint64_t count, int64_t centre) {
	for (uint32_t i = 0; i < self->size; i++) {
		int64_t at = centre - self->size / 2 + i;
		uint32_t to = reversed(i, self->size);
		bool inside = at >= 0 && (uint64_t)at < count;
		float before = at >= 1 && (uint64_t)at <= count ? samples[at - 1] : 0;
		// Speech is weak where frequencies are high; what is drawn is evened out.
		self->real[to] = inside ? (samples[at] - PREEMPHASIS * before) / 32768.0f * self->window[i] : 0;
		self->imaginary[to] = 0;
	}
	transform(self);
	for (uint32_t i = 0; i <= self->size / 2; i++)
		self->power[i] += self->real[i] * self->real[i] + self->imaginary[i] * self->imaginary[i];
}

static double to_mel(double hertz) {
	return 1127 * log1p(hertz / 700);
}

static double to_hertz(double mel) {
	return 700 * expm1(mel / 1127);
}

// Where the edge below row `row`, counted from the bottom, lies in bins of the spectrum.
static double bin_of(const spectrum *self, double row, uint32_t rows, uint32_t rate) {
	double top = to_mel(rate / 2.0), bottom = fmin(to_mel(LOWEST_HZ), top / 2);
	return to_hertz(bottom + (top - bottom) * row / rows) * self->size / rate;
}

// The loudest bin of a row, or what lies between two bins where rows are narrower than those.
static float power_between(const spectrum *self, double from, double to) {
	uint32_t last = self->size / 2, first = (uint32_t)ceil(from), end = (uint32_t)floor(to);
	float most = 0;
	for (uint32_t i = first; i <= end && i <= last; i++)
		most = fmaxf(most, self->power[i]);
	if (first <= end)
		return most;
	double centre = fmin((from + to) / 2, last);
	uint32_t low = (uint32_t)centre, high = low < last ? low + 1 : last;
	float share = (float)(centre - low);
	return self->power[low] * (1 - share) + self->power[high] * share;
}

static void draw_column(spectrum *self, const int16_t *samples, uint64_t count, uint32_t rate, uint32_t x,
	uint32_t width, float *column, uint32_t height) {
	double wide = (double)count / width;
	int frames = wide > self->size ? FRAMES_PER_COLUMN : 1;
	memset(self->power, 0, (self->size / 2 + 1) * sizeof *self->power);
	for (int i = 0; i < frames; i++)
		add_frame(self, samples, count, (int64_t)(wide * (x + (i + .5) / frames)));
	for (uint32_t y = 0; y < height; y++)
		column[y] =
			power_between(self, bin_of(self, y, height, rate), bin_of(self, y + 1, height, rate)) / (float)frames;
}

// From black over violet and orange to light yellow; equal steps look equally far apart.
static void colour(double share, uint8_t rgb[3]) {
	static const uint8_t stops[][3] = { { 0, 0, 4 }, { 20, 14, 54 }, { 59, 15, 112 }, { 100, 26, 128 },
		{ 140, 41, 129 }, { 183, 55, 121 }, { 222, 73, 104 }, { 247, 112, 92 }, { 254, 159, 109 }, { 254, 207, 146 },
		{ 252, 253, 191 } };
	const int last = (int)(sizeof stops / sizeof *stops) - 1;
	double at = fmin(fmax(share, 0), 1) * last;
	int low = at >= last ? last - 1 : (int)at;
	for (int c = 0; c < 3; c++)
		rgb[c] = (uint8_t)lround(stops[low][c] + (at - low) * (stops[low + 1][c] - stops[low][c]));
}

// The power that all but the brightest share of the pixels are below, to a quarter of a decibel; 0: silence.
static double brightest(const float *power, size_t pixels) {
	size_t counts[1024] = { 0 }, above = 0;
	for (size_t i = 0; i < pixels; i++) {
		double quarters = power[i] > 0 ? 40 * log10(power[i]) + 800 : 0; // from -200 dB on
		counts[quarters < 0 ? 0 : quarters > 1023 ? 1023 : (int)quarters]++;
	}
	for (int i = 1023; i > 0; i--) {
		above += counts[i];
		if ((double)above > BRIGHT_SHARE * (double)pixels)
			return pow(10, (i + 1 - 800) / 40.0);
	}
	return 0;
}

static void paint(const float *power, shard_picture *picture) {
	double most = brightest(power, (size_t)picture->width * picture->height);
	for (uint32_t x = 0; x < picture->width; x++)
		for (uint32_t y = 0; y < picture->height; y++) {
			float value = power[(size_t)x * picture->height + y];
			double share = value > 0 && most > 0 ? 1 + 10 * log10(value / most) / RANGE_DB : 0;
			colour(share, picture->rgb + ((size_t)(picture->height - 1 - y) * picture->width + x) * 3);
		}
}

d2v_status shard_spectrogram_draw(const int16_t *samples, uint64_t count, uint32_t rate, uint32_t width,
	uint32_t height, shard_picture *picture, d2v_error *err) {
	spectrum self = { 0 };
	float *power = NULL; // (width, height), from the bottom
	d2v_status status = shard_picture_new(picture, width, height, err);
	if (status == D2V_OK)
		status = init(&self, rate, err);
	if (status == D2V_OK)
		status = d2v_alloc(&power, (size_t)width * height, sizeof *power, err);
	for (uint32_t x = 0; status == D2V_OK && x < width; x++)
		draw_column(&self, samples, count, rate, x, width, power + (size_t)x * height, height);
	if (status == D2V_OK)
		paint(power, picture);
	d2v_free(power);
	release(&self);
	if (status != D2V_OK)
		shard_picture_release(picture);
	return status;
}

d2v_status shard_spectrogram_of_record(
	const d2v_record *record, uint32_t max_width, uint32_t height, shard_picture *picture, d2v_error *err) {
	int16_t *samples;
	uint64_t width = record->rate ? record->units * 100 / record->rate : 0;
	*picture = (shard_picture){ 0 };
	if (!record->units || record->units > SAMPLES_MAX || !record->rate)
		return d2v_fail(err, D2V_INVALID, "has no samples that could be drawn");
	width = width < 1 ? 1 : width > max_width ? max_width : width;
	D2V_TRY(d2v_alloc(&samples, record->units, sizeof *samples, err));
	d2v_status status = d2v_codec_audio_read(record, 0, record->units, samples, err);
	if (status == D2V_OK)
		status = shard_spectrogram_draw(samples, record->units, record->rate, (uint32_t)width, height, picture, err);
	d2v_free(samples);
	return status;
}
