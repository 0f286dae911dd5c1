// Learning rates and teacher decays against hand-worked values of the formulas.
#include "train/optimizer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static void expect(const d2v_schedule_config *config, uint64_t updates, double rate) {
	double found = d2v_schedule_lr(config, updates);
	if (!(fabs(found - rate) <= 1e-15 + 1e-12 * fabs(rate)))
		fail_msg("after %llu updates: %.17g, expected %.17g", (unsigned long long)updates, found, rate);
}

static void test_cosine(void **state) {
	(void)state;
	d2v_schedule_config c = { .kind = D2V_SCHEDULE_COSINE, .lr = 1e-3, .warmup_init_lr = NAN, .warmup_updates = 100 };
	c.max_update = 1100, c.lr_period_updates = NAN, c.t_mult = 1, c.lr_shrink = 0.1;
	expect(&c, 0, 0);
	expect(&c, 50, 5e-4);
	expect(&c, 100, 1e-3);
	expect(&c, 350, 0.5e-3 * (1 + sqrt(0.5)));
	expect(&c, 600, 0.5e-3);
	expect(&c, 1100, 1e-4); // a new period, a tenth as high
	expect(&c, 1600, 0.5e-4);
	c.min_lr = 2e-4; // it is where the warm-up starts, too
	expect(&c, 0, 2e-4);
	expect(&c, 50, 6e-4);
	expect(&c, 600, 6e-4);
	c.warmup_init_lr = 1e-4;
	expect(&c, 0, 1e-4);
	c.min_lr = 2e-3; // no more than the peak
	expect(&c, 350, 1e-3);
}

static void test_growing_periods(void **state) {
	(void)state;
	d2v_schedule_config c = {
		.kind = D2V_SCHEDULE_COSINE, .lr = 1, .lr_period_updates = 10, .t_mult = 2, .lr_shrink = 1
	};
	expect(&c, 5, 0.5);
	expect(&c, 20, 0.5); // the second period has 20 updates
	expect(&c, 50, 0.5); // the third 40
}

static void test_tri_stage(void **state) {
	(void)state;
	d2v_schedule_config c = { .kind = D2V_SCHEDULE_TRI_STAGE, .lr = 1, .init_lr_scale = 0.01, .final_lr_scale = 0.05 };
	c.max_update = 1000, c.phase_ratio[0] = 0.1, c.phase_ratio[1] = 0.4, c.phase_ratio[2] = 0.5;
	expect(&c, 0, 0.01);
	expect(&c, 50, 0.505);
	expect(&c, 100, 1);
	expect(&c, 499, 1);
	expect(&c, 750, sqrt(0.05));
	expect(&c, 1000, 0.05);
	expect(&c, 5000, 0.05);
}

static void test_polynomial(void **state) {
	(void)state;
	d2v_schedule_config c = { .kind = D2V_SCHEDULE_POLYNOMIAL, .lr = 2e-3, .warmup_updates = 2, .max_update = 9 };
	c.power = 1;
	expect(&c, 0, 0);
	expect(&c, 1, 1e-3);
	expect(&c, 2, 2e-3);
	expect(&c, 3, 2e-3 * 6 / 7);
	expect(&c, 9, 0);
	expect(&c, 12, 0);
}

static void test_fixed(void **state) {
	(void)state;
	d2v_schedule_config c = { .kind = D2V_SCHEDULE_FIXED, .lr = 2e-3, .warmup_updates = 4 };
	expect(&c, 0, 0.5e-3); // the one schedule whose warm-up counts the update that is made
	expect(&c, 2, 1.5e-3);
	expect(&c, 3, 2e-3);
	expect(&c, 4, 2e-3);
	expect(&c, 12, 2e-3);
	c.warmup_updates = 0;
	expect(&c, 0, 2e-3);
}

static void test_ema_decay(void **state) {
	(void)state;
	d2v_model_config c = { .ema_decay = 0.999, .ema_end_decay = 0.99999, .ema_anneal_end_step = 75000 };
	assert_true(d2v_ema_decay(&c, 0) == 0.99999 - (0.99999 - 0.999) * 1);
	assert_true(fabs(d2v_ema_decay(&c, 37500) - 0.999495) < 1e-12);
	assert_true(d2v_ema_decay(&c, 75000) == 0.99999);
	assert_true(d2v_ema_decay(&c, 1000000) == 0.99999);
	c.ema_end_decay = c.ema_decay;
	assert_true(d2v_ema_decay(&c, 7) == 0.999);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cosine),
		cmocka_unit_test(test_growing_periods),
		cmocka_unit_test(test_tri_stage),
		cmocka_unit_test(test_polynomial),
		cmocka_unit_test(test_fixed),
		cmocka_unit_test(test_ema_decay),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
