// A made-up voice: rows of syllables, each a buzz through three resonances that move, or hiss, with pauses between; so
// there is something to predict. What utterance i says is a function of (seed, i).
#ifndef D2V_TESTS_LOADERS_MADE_VOICE_H
#define D2V_TESTS_LOADERS_MADE_VOICE_H

#include <stdint.h>

#define MADE_VOICE_RATE 16000

void made_voice_speak(int16_t *samples, uint32_t length, uint64_t seed, uint64_t utterance);

#endif
