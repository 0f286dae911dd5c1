// The teacher's average of the student (spec/model.md 8).
#include "train/model_internal.h"

double d2v_ema_decay(const d2v_model_config *config, uint64_t updates_done) {
	double start = config->ema_decay, end = config->ema_end_decay, steps = (double)config->ema_anneal_end_step;
	if (start == end || (double)updates_done >= steps)
		return end;
	return end - (end - start) * (1 - (double)updates_done / steps);
}

// Ranges that both arrays have in common, neighbours joined (the gaps between them are zero in both).
static int64_t common_ranges(const d2v_params *params, d2v_range *teacher, d2v_range *student) {
	int64_t count = 0;
	for (int i = 0; i < params->count; i++) {
		const d2v_param *param = &params->list[i];
		if (param->teacher_offset < 0 || param->frozen)
			continue;
		if (count > 0) {
			d2v_range *to = &teacher[count - 1], *from = &student[count - 1];
			int64_t gap = param->offset - (from->offset + from->count);
			if (gap < 64 && param->teacher_offset - (to->offset + to->count) == gap) {
				to->count += gap + param->count;
				from->count += gap + param->count;
				continue;
			}
		}
		teacher[count] = (d2v_range){ .offset = param->teacher_offset, .count = param->count };
		student[count++] = (d2v_range){ .offset = param->offset, .count = param->count };
	}
	return count;
}

// A frozen parameter is copied, not averaged.
static void copy_frozen(d2v_model *model) {
	for (int i = 0; i < model->params.count; i++) {
		const d2v_param *param = &model->params.list[i];
		if (param->frozen && param->teacher_offset >= 0)
			d2v_device_copy(model->device, model->teacher + param->teacher_offset, model->weights + param->offset,
				(size_t)param->count * sizeof(float));
	}
}

double d2v_model_move_teacher(d2v_model *model, uint64_t updates_done) {
	double decay = d2v_ema_decay(&model->config, updates_done);
	if (updates_done == 0 || decay >= 1)
		return decay;
	d2v_ema op = { .teacher = model->teacher, .student = model->weights, .working = model->teacher_working };
	op.teacher_ranges = model->teacher_ranges, op.student_ranges = model->student_ranges;
	op.range_count = common_ranges(&model->params, model->teacher_ranges, model->student_ranges);
	op.rate = 1 - decay;
	d2v_ema_update(model->device, &op);
	copy_frozen(model);
	return decay;
}
