#include "loaders/image_options.h"

#include "base/hash.h"

#include <math.h>

#define BATCH_MAX (1u << 20)
#define SIZE_MAX_PIXELS 4096

void d2v_image_options_init(d2v_image_options *options) {
	*options = (d2v_image_options){ .common = { .seed = 1 },
		.batch_size = 16,
		.size = 224,
		.patch_size = 16,
		.scale = { 0.2, 1 },
		.ratio = { 3.0 / 4, 4.0 / 3 },
		.flip = .5,
		.clone_batch = 16,
		.masks = { .mask_prob = .8, .mask_prob_adjust = .07, .mask_length = 3, .inverse_mask = true } };
}

static void fill_in(d2v_image_options *o) {
	if (o->scale[0] == 0 && o->scale[1] == 0)
		o->scale[0] = 0.2, o->scale[1] = 1;
	if (o->ratio[0] == 0 && o->ratio[1] == 0)
		o->ratio[0] = 3.0 / 4, o->ratio[1] = 4.0 / 3;
	if (!o->resize)
		o->resize = (int32_t)rint(o->size * 256.0 / 224);
}

d2v_status d2v_image_options_check(d2v_image_options *o, d2v_error *err) {
	D2V_TRY(d2v_prefetch_options_check(&o->common, err));
	fill_in(o);
	if (!o->batch_size || o->batch_size > BATCH_MAX)
		return d2v_fail(err, D2V_INVALID, "batches of %u pictures; 1 to %u are possible", o->batch_size, BATCH_MAX);
	if (o->size < 1 || o->size > SIZE_MAX_PIXELS || o->patch_size < 1 || o->size % o->patch_size)
		return d2v_fail(err, D2V_INVALID,
			"pictures of %d x %d pixels in patches of %d; the side must be a multiple of the patch's and at most %d",
			(int)o->size, (int)o->size, (int)o->patch_size, SIZE_MAX_PIXELS);
	if (!(o->scale[0] > 0 && o->scale[0] <= o->scale[1] && o->scale[1] <= 1))
		return d2v_fail(err, D2V_INVALID, "crops of %g to %g of the area; both must lie in (0, 1], the smaller first",
			o->scale[0], o->scale[1]);
	if (!(o->ratio[0] > 0 && o->ratio[0] <= o->ratio[1] && o->ratio[1] < INFINITY))
		return d2v_fail(
			err, D2V_INVALID, "aspect ratios of %g to %g; the smaller comes first", o->ratio[0], o->ratio[1]);
	if (!(o->flip >= 0 && o->flip <= 1))
		return d2v_fail(err, D2V_INVALID, "a chance of %g of being mirrored; it must lie in [0, 1]", o->flip);
	if (o->resize < o->size || o->resize > 4 * SIZE_MAX_PIXELS)
		return d2v_fail(err, D2V_INVALID, "a shorter side of %d pixels to cut %d from", (int)o->resize, (int)o->size);
	if (o->clone_batch < 1)
		return d2v_fail(err, D2V_INVALID, "clone_batch is %d; it must be at least 1", (int)o->clone_batch);
	return d2v_masks_check(&o->masks, err);
}

uint64_t d2v_image_options_digest(const d2v_image_options *o, const d2v_dataset *dataset) {
	const uint64_t numbers[] = { 1 /* version of the stream */, d2v_manifest_digest(d2v_dataset_manifest(dataset)),
		d2v_dataset_records(dataset), o->common.seed, o->common.imitated_world_size, o->eval, o->batch_size,
		(uint64_t)o->size, (uint64_t)o->patch_size, (uint64_t)o->resize, (uint64_t)o->clone_batch,
		(uint64_t)o->masks.mask_length, o->masks.inverse_mask, o->masks.any_count };
	const double shares[] = { o->scale[0], o->scale[1], o->ratio[0], o->ratio[1], o->flip, o->masks.mask_prob,
		o->masks.mask_prob_adjust, o->masks.mask_dropout };
	return d2v_hash64_chain(d2v_hash64(numbers, sizeof numbers), d2v_hash64(shares, sizeof shares));
}
