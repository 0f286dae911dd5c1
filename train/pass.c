#include "train/pass.h"

static int64_t place_of(const d2v_pass *pass, int index) {
	const d2v_param *param = &pass->params->list[index];
	int64_t place = pass->teacher ? param->teacher_offset : param->offset;
	D2V_ASSERT(place >= 0);
	return place;
}

const d2v_real *d2v_pass_weight(const d2v_pass *pass, int index) {
	return index < 0 ? NULL : d2v_real_at(pass->device, pass->weights, (size_t)place_of(pass, index));
}

const float *d2v_pass_master(const d2v_pass *pass, int index) {
	return index < 0 ? NULL : pass->masters + place_of(pass, index);
}

float *d2v_pass_gradient(d2v_pass *pass, int index) {
	if (index < 0 || !pass->tape || pass->params->list[index].frozen)
		return NULL;
	if (!d2v_ops_is_dry(pass->device))
		pass->touched[index] = true;
	return pass->gradients + place_of(pass, index);
}

d2v_real *d2v_pass_reals(d2v_pass *pass, int64_t count) {
	return d2v_arena_take(pass->arena, (size_t)count * d2v_device_real_size(pass->device));
}

d2v_real *d2v_pass_gradient_reals(d2v_pass *pass, int64_t count) {
	return pass->tape ? d2v_pass_reals(pass, count) : NULL;
}

float *d2v_pass_floats(d2v_pass *pass, int64_t count) {
	return d2v_arena_take(pass->arena, (size_t)count * sizeof(float));
}

void *d2v_pass_kept(d2v_pass *pass, size_t bytes) {
	return pass->tape && bytes ? d2v_arena_take(pass->arena, bytes) : NULL;
}

size_t d2v_pass_begin(const d2v_pass *pass) {
	return d2v_arena_mark(pass->arena);
}

void d2v_pass_end(d2v_pass *pass, size_t mark) {
	if (!pass->tape)
		d2v_arena_rewind(pass->arena, mark);
}

static bool is_computed_again(const d2v_pass *pass) {
	return pass->tape && pass->insides;
}

static void exchange_arenas(d2v_pass *pass) {
	d2v_arena *arena = pass->arena;
	pass->arena = pass->insides;
	pass->insides = arena;
}

size_t d2v_pass_begin_layer(d2v_pass *pass) {
	if (is_computed_again(pass)) {
		exchange_arenas(pass);
		d2v_tape_begin_segment(pass->tape);
	}
	return d2v_arena_mark(pass->arena);
}

void d2v_pass_end_layer(d2v_pass *pass, size_t mark) {
	if (!is_computed_again(pass)) {
		d2v_pass_end(pass, mark);
		return;
	}
	d2v_tape_end_segment(pass->tape);
	d2v_arena_rewind(pass->arena, mark);
	exchange_arenas(pass);
}

void d2v_pass_run(d2v_pass *pass, const d2v_op_kind *kind, const void *op) {
	double start = d2v_profile_start(pass->profile);
	if (kind->forward)
		kind->forward(pass->device, op);
	if (pass->tape)
		d2v_tape_record(pass->tape, kind, op, pass->stage);
	d2v_profile_stop(pass->profile, pass->device, pass->stage, kind->name, D2V_PROFILE_FORWARD, start);
}

d2v_random_key d2v_pass_key(d2v_pass *pass, d2v_random_purpose purpose) {
	return d2v_random_key_make(pass->seed, purpose, pass->update, pass->part << 32 | pass->site++);
}

d2v_dropout d2v_pass_dropout(d2v_pass *pass, double p, int64_t span, int64_t row) {
	if (!pass->training || !(p > 0))
		return (d2v_dropout){ .p = 0 };
	return (d2v_dropout){
		.p = (float)p,
		.key = d2v_pass_key(pass, D2V_RANDOM_DROPOUT),
		.span = span,
		.first = pass->first_row * row,
	};
}
