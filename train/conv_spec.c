// "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2": fairseq evaluates this as Python; here it is a small
// grammar.
//     spec = term { "+" term }     term = list { "*" number }     list = "[" [ triple { "," triple } [","] ] "]"
#include "train/model_config.h"

#include <stdlib.h>
#include <string.h>

typedef struct spec_reader {
	const char *text, *at;
	d2v_conv_spec *spec;
	d2v_error *err;
} spec_reader;

static d2v_status fail_at(const spec_reader *reader, const char *expected) {
	return d2v_fail(reader->err, D2V_INVALID, "feature_encoder_spec '%s': expected %s at character %d", reader->text,
		expected, (int)(reader->at - reader->text) + 1);
}

static bool skip(spec_reader *reader, char wanted) {
	reader->at += strspn(reader->at, " \t\r\n");
	if (*reader->at != wanted)
		return false;
	reader->at++;
	return true;
}

static d2v_status read_number(spec_reader *reader, int64_t *out) {
	reader->at += strspn(reader->at, " \t\r\n");
	if (*reader->at < '0' || *reader->at > '9')
		return fail_at(reader, "a number");
	char *end;
	unsigned long long number = strtoull(reader->at, &end, 10);
	if (number < 1 || number > 65536)
		return fail_at(reader, "a number from 1 to 65536");
	reader->at = end;
	*out = (int64_t)number;
	return D2V_OK;
}

static d2v_status read_triple(spec_reader *reader) {
	d2v_conv_spec *spec = reader->spec;
	if (!skip(reader, '('))
		return fail_at(reader, "'('");
	if (spec->count == D2V_CONV_LAYERS_MAX)
		return d2v_fail(reader->err, D2V_INVALID, "feature_encoder_spec '%s': more than %d layers", reader->text,
			D2V_CONV_LAYERS_MAX);
	D2V_TRY(read_number(reader, &spec->layer[spec->count].channels));
	if (!skip(reader, ','))
		return fail_at(reader, "','");
	D2V_TRY(read_number(reader, &spec->layer[spec->count].kernel));
	if (!skip(reader, ','))
		return fail_at(reader, "','");
	D2V_TRY(read_number(reader, &spec->layer[spec->count].stride));
	spec->count++;
	return skip(reader, ')') ? D2V_OK : fail_at(reader, "')'");
}

static d2v_status repeat(spec_reader *reader, int first, int64_t times) {
	d2v_conv_spec *spec = reader->spec;
	int length = spec->count - first;
	if (length > 0 && times > (D2V_CONV_LAYERS_MAX - first) / length)
		return d2v_fail(reader->err, D2V_INVALID, "feature_encoder_spec '%s': more than %d layers", reader->text,
			D2V_CONV_LAYERS_MAX);
	for (int i = length; i < length * times; i++)
		spec->layer[first + i] = spec->layer[first + i - length];
	spec->count = first + length * (int)times;
	return D2V_OK;
}

static d2v_status read_term(spec_reader *reader) {
	int first = reader->spec->count;
	if (!skip(reader, '['))
		return fail_at(reader, "'['");
	while (!skip(reader, ']')) {
		D2V_TRY(read_triple(reader));
		if (!skip(reader, ',') && *reader->at != ']')
			return fail_at(reader, "',' or ']'");
	}
	while (skip(reader, '*')) {
		int64_t times;
		D2V_TRY(read_number(reader, &times));
		if (reader->spec->count > first)
			D2V_TRY(repeat(reader, first, times));
	}
	return D2V_OK;
}

d2v_status d2v_conv_spec_parse(const char *text, d2v_conv_spec *spec, d2v_error *err) {
	*spec = (d2v_conv_spec){ .count = 0 };
	spec_reader reader = { .text = text, .at = text, .spec = spec, .err = err };
	do
		D2V_TRY(read_term(&reader));
	while (skip(&reader, '+'));
	reader.at += strspn(reader.at, " \t\r\n");
	if (*reader.at)
		return fail_at(&reader, "'+' or the end");
	if (spec->count == 0)
		return d2v_fail(err, D2V_INVALID, "feature_encoder_spec '%s': no layers", text);
	return D2V_OK;
}

int64_t d2v_conv_spec_frames(const d2v_conv_spec *spec, int64_t samples) {
	int64_t steps = samples;
	for (int i = 0; i < spec->count; i++) {
		if (steps < spec->layer[i].kernel)
			return 0;
		steps = (steps - spec->layer[i].kernel) / spec->layer[i].stride + 1;
	}
	return steps;
}
