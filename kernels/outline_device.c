#include "base/arena.h"
#include "base/memory.h"
#include "kernels/backend.h"
#include "kernels/kept_draws.h"

#include <float.h>
#include <stdio.h>
#include <string.h>

typedef struct outline {
	d2v_device device; // first: the pointer is the same
	size_t memory;
} outline;

static void outline_close(d2v_device *dev) {
	d2v_free(dev);
}

static void outline_sync(d2v_device *dev) {
	(void)dev;
}

static void outline_memory(d2v_device *dev, size_t *left, size_t *all) {
	*left = *all = ((const outline *)(const void *)dev)->memory;
}

// An address that nobody may follow, as a measuring arena's.
static d2v_status outline_alloc(d2v_device *dev, void *out, size_t bytes, d2v_error *err) {
	(void)dev, (void)bytes, (void)err;
	void *nowhere = (void *)(uintptr_t)D2V_ARENA_ALIGN;
	memcpy(out, &nowhere, sizeof nowhere);
	return D2V_OK;
}

static void outline_free(d2v_device *dev, void *pointer) {
	(void)dev, (void)pointer;
}

// A device whose working type has 16 bits is a GPU, in bf16.
static size_t outline_attention_kept_bytes(d2v_device *dev, const d2v_attention *op) {
	return dev->real_size == 2 && d2v_attention_has_tensor_heads(op, true) ? d2v_kept_draws_bytes(op) : 0;
}

// Dry devices ask for nothing else.
static const d2v_backend backend = {
	.close = outline_close,
	.sync = outline_sync,
	.memory = outline_memory,
	.alloc = outline_alloc,
	.free = outline_free,
	.alloc_host = outline_alloc,
	.free_host = outline_free,
	.attention_kept_bytes = outline_attention_kept_bytes,
};

d2v_status d2v_device_outline(d2v_device **device, size_t real_size, size_t memory, d2v_error *err) {
	outline *out;
	*device = NULL;
	D2V_TRY(d2v_alloc_zero(&out, 1, sizeof *out, err));
	out->device = (d2v_device){ .backend = &backend, .real_size = real_size, .real_max = (double)FLT_MAX, .dry = true };
	out->memory = memory;
	snprintf(out->device.name, sizeof out->device.name, "outline");
	*device = &out->device;
	return D2V_OK;
}
