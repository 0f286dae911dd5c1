// Configuration fields as a table, on a table of their own and on the model's.
#include "train/fields.h"

#include "train/model_config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

typedef struct thing {
	bool flag;
	int64_t count;
	double share, perhaps;
	char name[D2V_FIELD_TEXT_MAX];
	int color;
	d2v_field_reals betas;
} thing;

#define AT(member) offsetof(thing, member)
static const d2v_field table[] = {
	{ "a.flag", D2V_FIELD_BOOL, AT(flag), 0, 0, NULL, "true", "" },
	{ "a.count", D2V_FIELD_INT, AT(count), 1, 10, NULL, "3", "" },
	{ "a.share", D2V_FIELD_REAL, AT(share), 0, 1, NULL, "1e-6", "" },
	{ "a.b.perhaps", D2V_FIELD_REAL_OR_NULL, AT(perhaps), 0, 0, NULL, "null", "" },
	{ "name", D2V_FIELD_TEXT, AT(name), 0, 0, NULL, "'[(1, 2, 3)]'", "" },
	{ "color", D2V_FIELD_CHOICE, AT(color), 0, 0, "null|red|green", "green", "" },
	{ "betas", D2V_FIELD_REALS, AT(betas), 0, 1, NULL, "[0.9, 0.98]", "" },
	{ "a.fixed", D2V_FIELD_FIXED, 0, 0, 0, "0", "0", NULL },
	{ "a.ignored", D2V_FIELD_FIXED, 0, 0, 0, "*", "*", NULL },
	{ 0 },
};

static d2v_status read(thing *into, const char *yaml, d2v_error *err) {
	json_t *tree = NULL;
	D2V_TRY(d2v_yaml_parse(yaml, strlen(yaml), "file.yaml", &tree, err));
	d2v_status status = d2v_fields_read(table, into, tree, "", "file.yaml", err);
	json_decref(tree);
	return status;
}

static void test_defaults(void **state) {
	(void)state;
	thing t;
	assert_int_equal(d2v_fields_defaults(table, &t, NULL), D2V_OK);
	assert_true(t.flag);
	assert_int_equal(t.count, 3);
	assert_true(t.share == 1e-6 && isnan(t.perhaps));
	assert_string_equal(t.name, "[(1, 2, 3)]");
	assert_int_equal(t.color, 2);
	assert_int_equal(t.betas.count, 2);
	assert_true(t.betas.value[0] == 0.9 && t.betas.value[1] == 0.98);
}

static void test_values_of_every_kind(void **state) {
	(void)state;
	thing t;
	d2v_error err = { 0 };
	assert_int_equal(d2v_fields_defaults(table, &t, NULL), D2V_OK);
	const char *yaml = "a: {flag: false, count: 4.0, share: 0.5, b: {perhaps: 2}, fixed: 0.0, ignored: [1, 2]}\n"
					   "name: plain\ncolor: RED\nbetas: (0.9,0.95)\n";
	if (read(&t, yaml, &err) != D2V_OK)
		fail_msg("%s", err.text);
	assert_false(t.flag);
	assert_int_equal(t.count, 4);
	assert_true(t.share == 0.5 && t.perhaps == 2);
	assert_string_equal(t.name, "plain");
	assert_int_equal(t.color, 1);
	assert_true(t.betas.count == 2 && t.betas.value[1] == 0.95);
	assert_int_equal(read(&t, "{betas: 0.5, color: null, a: {b: {perhaps: null}}}", &err), D2V_OK);
	assert_true(t.betas.count == 1 && t.betas.value[0] == 0.5 && t.color == 0 && isnan(t.perhaps));
}

static void test_refused(void **state) {
	(void)state;
	static const struct {
		const char *yaml, *says;
	} cases[] = {
		{ "{a: {cout: 3}}", "unknown key a.cout; did you mean a.count?" },
		{ "{count: 3}", "unknown key count; did you mean a.count?" },
		{ "{perhaps: 3}", "unknown key perhaps; did you mean a.b.perhaps?" },
		{ "{quite: 3}", "unknown key quite; --print-config shows all there are" },
		{ "{a: {count: 11}}", "a.count: 11 is outside 1 to 10" },
		{ "{a: {count: 2.5}}", "expected a whole number" },
		{ "{a: {count: true}}", "expected a whole number" },
		{ "{a: {share: big}}", "expected a number" },
		{ "{a: {flag: 1}}", "expected true or false" },
		{ "{a: {fixed: 1}}", "expected 0" },
		{ "{a: 3}", "expected a mapping" },
		{ "{color: blue}", "null|red|green" },
		{ "{betas: (0.9;1)}", "betas" },
		{ "{betas: [0.9, 2]}", "outside" },
		{ "{betas: []}", "betas" },
		{ "{name: [1]}", "expected text" },
		{ "[1]", "expected a mapping" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		thing t;
		d2v_error err = { 0 };
		assert_int_equal(d2v_fields_defaults(table, &t, NULL), D2V_OK);
		if (read(&t, cases[i].yaml, &err) != D2V_INVALID || !strstr(err.text, cases[i].says) ||
			!strstr(err.text, "file.yaml"))
			fail_msg("%s: '%s' does not say '%s'", cases[i].yaml, err.text, cases[i].says);
	}
}

static void test_override(void **state) {
	(void)state;
	thing t;
	d2v_error err = { 0 };
	assert_int_equal(d2v_fields_defaults(table, &t, NULL), D2V_OK);
	assert_int_equal(d2v_fields_override(table, &t, "a.count=7", &err), D2V_OK);
	assert_int_equal(d2v_fields_override(table, &t, "betas=[0.5, 0.25]", &err), D2V_OK);
	assert_int_equal(d2v_fields_override(table, &t, "name=[(512, 10, 5)] * 2", &err), D2V_OK); // not YAML, but text
	assert_int_equal(d2v_fields_override(table, &t, "a.share=1e-3", &err), D2V_OK);
	assert_int_equal(t.count, 7);
	assert_true(t.betas.value[1] == 0.25 && t.share == 1e-3);
	assert_string_equal(t.name, "[(512, 10, 5)] * 2");
	assert_int_equal(d2v_fields_override(table, &t, "a.count", &err), D2V_INVALID);
	assert_int_equal(d2v_fields_override(table, &t, "=3", &err), D2V_INVALID);
	assert_int_equal(d2v_fields_override(table, &t, "a.coumt=3", &err), D2V_INVALID);
	assert_non_null(strstr(err.text, "did you mean a.count?"));
	assert_int_equal(d2v_fields_override(table, &t, "a=3", &err), D2V_INVALID);
}

// What is printed reads back as the same, for the model's own table.
static void test_tree_round_trip(void **state) {
	(void)state;
	d2v_model_config config, again;
	d2v_error err = { 0 };
	memset(&config, 0, sizeof config);
	memset(&again, 0, sizeof again);
	assert_int_equal(d2v_fields_defaults(d2v_model_fields, &config, &err), D2V_OK);
	assert_int_equal(d2v_fields_override(d2v_model_fields, &config, "model.embed_dim=48", &err), D2V_OK);
	assert_int_equal(d2v_fields_override(d2v_model_fields, &config, "model.loss_scale=0.1", &err), D2V_OK);
	json_t *tree = NULL, *second = NULL;
	assert_int_equal(d2v_fields_tree(d2v_model_fields, &config, &tree, &err), D2V_OK);
	assert_int_equal(d2v_fields_defaults(d2v_model_fields, &again, &err), D2V_OK);
	if (d2v_fields_read(d2v_model_fields, &again, tree, "", "tree", &err) != D2V_OK)
		fail_msg("%s", err.text);
	assert_memory_equal(&config, &again, sizeof config);
	assert_int_equal(d2v_fields_tree(d2v_model_fields, &again, &second, &err), D2V_OK);
	assert_true(json_equal(tree, second));
	json_decref(tree);
	json_decref(second);
}

static void test_model_check(void **state) {
	(void)state;
	static const struct {
		const char *set, *says;
	} cases[] = {
		{ "model.num_heads=7", "multiple of model.num_heads" },
		{ "model.modalities.audio.encoder_zero_mask=false", "encoder_zero_mask" },
		{ "model.modalities.audio.num_alibi_heads=3", "num_alibi_heads" },
		{ "model.modalities.audio.conv_pos_groups=5", "conv_pos_groups" },
		{ "model.modalities.audio.decoder.decoder_groups=7", "decoder_groups" },
		{ "model.modalities.audio.feature_encoder_spec=[(3,2)]", "feature_encoder_spec" },
		{ "model.cls_loss=0.1", "num_extra_tokens" },
		{ "model.d2v_loss=0", "nothing to learn" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		d2v_model_config config;
		d2v_error err = { 0 };
		assert_int_equal(d2v_fields_defaults(d2v_model_fields, &config, &err), D2V_OK);
		assert_int_equal(d2v_model_config_check(&config, &err), D2V_OK);
		assert_int_equal(d2v_fields_override(d2v_model_fields, &config, cases[i].set, &err), D2V_OK);
		if (d2v_model_config_check(&config, &err) == D2V_OK || !strstr(err.text, cases[i].says))
			fail_msg("%s: '%s' does not say '%s'", cases[i].set, err.text, cases[i].says);
	}
}

static void test_conv_spec(void **state) {
	(void)state;
	d2v_conv_spec spec;
	d2v_error err = { 0 };
	const char *published = "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]";
	assert_int_equal(d2v_conv_spec_parse(published, &spec, &err), D2V_OK);
	assert_int_equal(spec.count, 7);
	static const int64_t frames[][2] = { { 16000, 49 }, { 32000, 99 }, { 160000, 499 }, { 240000, 749 },
		{ 320000, 999 }, { 399, 0 }, { 400, 1 }, { 0, 0 } };
	for (size_t i = 0; i < sizeof frames / sizeof *frames; i++)
		assert_int_equal(d2v_conv_spec_frames(&spec, frames[i][0]), frames[i][1]);
	assert_int_equal(d2v_conv_spec_parse("[(1,2,3),(4,5,6)]*2*2", &spec, &err), D2V_OK);
	assert_int_equal(spec.count, 8);
	assert_int_equal(spec.layer[7].kernel, 5);
	static const char *const bad[] = { "", "[]", "[(1,2)]", "[(1,2,3)", "(1,2,3)", "[(1,2,3)]*", "[(1,2,3)]*0",
		"[(0,2,3)]", "[(1,2,3)]*17", "[(1,2,3)]+", "[(1,2,3)] x", "[(1,2,99999999999999999999)]",
		"[(1,2,3)]*9*9*9*9*9*9", "[(-1,2,3)]", "[(1,2,3) (1,2,3)]" };
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (d2v_conv_spec_parse(bad[i], &spec, &err) != D2V_INVALID)
			fail_msg("'%s' was taken", bad[i]);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_values_of_every_kind),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_override),
		cmocka_unit_test(test_tree_round_trip),
		cmocka_unit_test(test_model_check),
		cmocka_unit_test(test_conv_spec),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
