// What a modality has of its own: local encoder, positions, context and decoder, around the shared trunk.
//
// The only place that knows which modalities there are: the step above works on a d2v_encoder, the files below each on
// one kind of input (audio_encoder.h, image_encoder.h, text_encoder.h).
#ifndef D2V_TRAIN_ENCODER_H
#define D2V_TRAIN_ENCODER_H

#include "train/audio_encoder.h"
#include "train/context.h"
#include "train/conv_decoder.h"
#include "train/image_encoder.h"
#include "train/text_encoder.h"

typedef struct d2v_encoder {
	d2v_modality modality;
	const d2v_modality_config *config; // borrowed
	int64_t width;                     // D
	d2v_context context;
	d2v_conv_decoder decoder;
	union { // the modality's
		d2v_audio_encoder audio;
		d2v_image_encoder image;
		d2v_text_encoder text;
	};
} d2v_encoder;

// Parameters "modality_encoders.AUDIO...." in the original's order. config is borrowed.
d2v_status d2v_encoder_add(
	d2v_encoder *encoder, d2v_params *params, const d2v_model_config *config, d2v_modality modality, d2v_error *err);

// Tokens it makes of an input of `length` audio samples or tokens of text; of a picture always the same. 0: too short.
int64_t d2v_encoder_tokens(const d2v_encoder *encoder, int64_t length);
// Whether the encoder can read this batch: input there and of the right size, as many tokens as it makes of it. Masks
// are not looked at.
d2v_status d2v_encoder_check(const d2v_encoder *encoder, const d2v_batch *batch, d2v_error *err);
// Tokens of sample b that are not padding; batch->valid must be there.
int64_t d2v_encoder_valid_tokens(const d2v_encoder *encoder, const d2v_batch *batch, int64_t b);
// Channels of the widest array that has all T positions of all copies.
int64_t d2v_encoder_widest(const d2v_encoder *encoder);

// Input to local features (B, T, D). d_local: their gradient, which may be changed on the way back.
d2v_real *d2v_encoder_local(
	const d2v_encoder *encoder, d2v_pass *pass, const d2v_device_batch *batch, d2v_real *d_local);

// Sets in->positions or in->table, from in->local. masked: of the student's masked copies; their gradient comes in
// frames[0], and that of in->local is added to in->d_local. Otherwise of whole samples, nothing recorded.
void d2v_encoder_positions(const d2v_encoder *encoder, d2v_pass *pass, const d2v_device_batch *batch, bool masked,
	d2v_real *const frames[2], d2v_context_input *in);

#endif
