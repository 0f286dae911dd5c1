#include "tests/loaders/made_voice.h"

#include "base/random.h"

#include <math.h>
#include <stdbool.h>

#define RATE MADE_VOICE_RATE

typedef struct voice {
	double pitch, phase;
	double state[3][2]; // of the resonances
} voice;

static double resonate(double state[2], double hertz, double input) {
	const double radius = 0.97;
	double output = input + 2 * radius * cos(2 * M_PI * hertz / RATE) * state[0] - radius * radius * state[1];
	state[1] = state[0];
	return state[0] = output;
}

static double sound(voice *speaker, d2v_random *random, const double hertz[3], bool hiss) {
	double source = d2v_random_unit(random) * 2 - 1;
	if (!hiss) {
		speaker->phase += speaker->pitch / RATE;
		speaker->phase -= floor(speaker->phase);
		source = (speaker->phase < 0.1) + 0.02 * source;
	}
	double out = 0;
	for (int i = 0; i < 3; i++)
		out += resonate(speaker->state[i], hertz[i], source) / (i + 1);
	return out;
}

void made_voice_speak(int16_t *samples, uint32_t length, uint64_t seed, uint64_t utterance) {
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(seed, D2V_RANDOM_SYNTHETIC, utterance, 0));
	voice speaker = { .pitch = 90 + 140 * d2v_random_unit(&random) };
	uint32_t at = 0;
	while (at < length) {
		double hertz[3] = { 250 + 600 * d2v_random_unit(&random), 900 + 1400 * d2v_random_unit(&random),
			2400 + 800 * d2v_random_unit(&random) };
		bool hiss = d2v_random_below(&random, 4) == 0, pause = d2v_random_below(&random, 5) == 0;
		uint32_t end = at + RATE / 12 + d2v_random_below(&random, RATE / 6);
		for (; at < end && at < length; at++)
			samples[at] = pause ? (int16_t)d2v_random_below(&random, 20)
								: (int16_t)(fmax(-1, fmin(1, sound(&speaker, &random, hertz, hiss) / 40)) * 12000);
	}
}
