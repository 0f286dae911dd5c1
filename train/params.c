#include "train/params.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/random.h"

#include <math.h>
#include <string.h>

#define PLACE_ALIGN 64 // elements

static int64_t aligned(int64_t elements) {
	return (elements + PLACE_ALIGN - 1) / PLACE_ALIGN * PLACE_ALIGN;
}

void d2v_params_init(d2v_params *params) {
	*params = (d2v_params){ .list = NULL };
}

void d2v_params_release(d2v_params *params) {
	d2v_free(params->list);
	d2v_params_init(params);
}

static d2v_status count_elements(const char *name, int rank, const int64_t *shape, int64_t *count, d2v_error *err) {
	D2V_ASSERT(rank >= 1 && rank <= D2V_PARAM_RANK);
	size_t product = 1;
	for (int i = 0; i < rank; i++) {
		D2V_ASSERT(shape[i] > 0);
		if (!d2v_mul_fits(product, (size_t)shape[i], &product) || product > INT64_MAX / 64)
			return d2v_fail(err, D2V_INVALID, "%s: too large", name);
	}
	*count = (int64_t)product;
	return D2V_OK;
}

d2v_status d2v_params_add(d2v_params *params, const char *name, int rank, const int64_t *shape, d2v_init_rule init,
	double scale, bool in_teacher, int *index, d2v_error *err) {
	if (strlen(name) >= D2V_PARAM_NAME)
		return d2v_fail(err, D2V_INVALID, "%s: the parameter's name is too long", name);
	if (d2v_params_find(params, name))
		return d2v_fail(err, D2V_EXISTS, "%s: two parameters of this name", name);
	d2v_param param = { .rank = rank, .init = init, .scale = scale, .offset = params->size, .teacher_offset = -1 };
	D2V_TRY(count_elements(name, rank, shape, &param.count, err));
	strcpy(param.name, name);
	memcpy(param.shape, shape, (size_t)rank * sizeof *shape);
	size_t capacity = (size_t)params->capacity;
	D2V_TRY(d2v_reserve(&params->list, &capacity, (size_t)params->count + 1, sizeof *params->list, err));
	params->capacity = (int)capacity;
	params->size += aligned(param.count);
	if (in_teacher) {
		param.teacher_offset = params->teacher_size;
		params->teacher_size += aligned(param.count);
	}
	*index = params->count;
	params->list[params->count++] = param;
	return D2V_OK;
}

d2v_linear_start d2v_params_linear_start(bool mae_init, int64_t out, int64_t in) {
	if (mae_init)
		return (d2v_linear_start){ D2V_INIT_UNIFORM, sqrt(6 / (double)(in + out)) };
	return (d2v_linear_start){ D2V_INIT_NORMAL, D2V_BERT_SPREAD };
}

const d2v_param *d2v_params_find(const d2v_params *params, const char *name) {
	for (int i = 0; i < params->count; i++)
		if (strcmp(params->list[i].name, name) == 0)
			return &params->list[i];
	return NULL;
}

int64_t d2v_params_trainable(const d2v_params *params) {
	int64_t sum = 0;
	for (int i = 0; i < params->count; i++)
		if (!params->list[i].frozen)
			sum += params->list[i].count;
	return sum;
}

static void draw_normal(d2v_random *random, double spread, float *out, int64_t count) {
	for (int64_t i = 0; i < count; i++)
		out[i] = (float)(spread * d2v_random_normal(random));
}

// Row of P: [ sin(c w_0..Q-1) | cos(c w) | sin(r w) | cos(r w) ], Q = D/4, w_k = 10000^(-k/Q), for row r and column c.
// The column comes first, as in the original.
static void place_in_plane(const d2v_param *param, float *out) {
	int64_t side = (int64_t)(sqrt((double)param->shape[1]) + 0.5), width = param->shape[2], quarter = width / 4;
	for (int64_t t = 0; t < side * side; t++)
		for (int64_t k = 0; k < quarter; k++) {
			double frequency = pow(10000, -(double)k / (double)quarter);
			double across = (double)(t % side) * frequency, down = (double)(t / side) * frequency;
			float *row = out + t * width + k;
			row[0] = (float)sin(across), row[quarter] = (float)cos(across);
			row[2 * quarter] = (float)sin(down), row[3 * quarter] = (float)cos(down);
		}
}

void d2v_params_draw(const d2v_params *params, int index, uint64_t seed, float *out) {
	const d2v_param *param = &params->list[index];
	d2v_random random;
	uint64_t name = d2v_hash64(param->name, strlen(param->name));
	d2v_random_start(&random, d2v_random_key_make(seed, D2V_RANDOM_INIT, name, 0));
	switch (param->init) {
	case D2V_INIT_ZERO:
		memset(out, 0, (size_t)param->count * sizeof *out);
		break;
	case D2V_INIT_ONE:
		for (int64_t i = 0; i < param->count; i++)
			out[i] = 1;
		break;
	case D2V_INIT_FIXED:
		for (int64_t i = 0; i < param->count; i++)
			out[i] = (float)param->scale;
		break;
	case D2V_INIT_NORMAL:
		draw_normal(&random, param->scale, out, param->count);
		break;
	case D2V_INIT_EMBEDDING:
		draw_normal(&random, param->scale, out, param->count);
		memset(out + param->shape[1], 0, (size_t)param->shape[1] * sizeof *out);
		break;
	case D2V_INIT_SINCOS:
		place_in_plane(param, out);
		break;
	case D2V_INIT_UNIFORM:
		for (int64_t i = 0; i < param->count; i++)
			out[i] = (float)(param->scale * (2 * d2v_random_unit(&random) - 1));
		break;
	case D2V_INIT_EXTRA: {
		int64_t first = param->count / param->shape[1];
		memset(out, 0, (size_t)first * sizeof *out);
		draw_normal(&random, 1, out + first, param->count - first);
		break;
	}
	}
}
