// Every operation: skip it while planning, hand it to the device's backend, and with D2V_SYNC=1 wait for it.
#include "kernels/ops.h"

#include "kernels/backend.h"

void d2v_ops_set_dry(d2v_device *device, bool dry) {
	device->dry = dry || !device->backend->enter; // an outline
}
bool d2v_ops_is_dry(const d2v_device *device) {
	return device->dry;
}

// After a failed operation the following ones do not run: what they would read may not be there.
static bool begin(d2v_device *dev, const char *name) {
	if (dev->dry || dev->first.status != D2V_OK)
		return false;
	dev->current = name;
	dev->backend->enter(dev);
	return true;
}

static void end(d2v_device *dev) {
	if (dev->sync_each)
		dev->backend->sync(dev);
	dev->current = NULL;
}

#define D2V_DISPATCH(name, type) \
	void d2v_##name(d2v_device *dev, const type *op) { \
		if (begin(dev, #name)) { \
			dev->backend->name(dev, op); \
			end(dev); \
		} \
	}
D2V_STRUCT_OPS(D2V_DISPATCH)

size_t d2v_attention_kept_bytes(d2v_device *dev, const d2v_attention *op) {
	bool drops = op->drop.p > 0 && op->rows * op->tokens * op->width > 0;
	return drops && dev->backend->attention_kept_bytes ? dev->backend->attention_kept_bytes(dev, op) : 0;
}

void d2v_attention_bias(d2v_device *dev, const d2v_attention *op, float *bias) {
	if (begin(dev, "attention_bias")) {
		dev->backend->attention_bias(dev, op, bias);
		end(dev);
	}
}

void d2v_drop(d2v_device *dev, d2v_real *y, const d2v_real *x, d2v_dropout drop, bool accumulate, int64_t count) {
	if (begin(dev, "drop")) {
		dev->backend->drop(dev, y, x, drop, accumulate, count);
		end(dev);
	}
}

void d2v_add(d2v_device *dev, d2v_real *y, const d2v_real *x, float a, int64_t count) {
	if (begin(dev, "add")) {
		dev->backend->add(dev, y, x, a, count);
		end(dev);
	}
}

void d2v_sum_squares(d2v_device *dev, double *sum, const float *x, int64_t count) {
	if (begin(dev, "sum_squares")) {
		dev->backend->sum_squares(dev, sum, x, count);
		end(dev);
	}
}
