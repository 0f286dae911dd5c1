#include "kernels/device.h"

#include "kernels/backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// "cpu:4" is kind "cpu", number 4; without a number, `number` keeps its default.
static bool split_name(const char *name, const char *kind, int *number) {
	size_t length = strlen(kind);
	if (strncmp(name, kind, length) != 0)
		return false;
	if (name[length] == 0)
		return true;
	if (name[length] != ':' || name[length + 1] < '0' || name[length + 1] > '9')
		return false;
	char *end;
	long value = strtol(name + length + 1, &end, 10);
	if (*end || value > 65536)
		return false;
	*number = (int)value;
	return true;
}

// Cuts ":f32", ":tf32", ":f16" or ":bf16" off the name. rest: room for 32 characters.
static d2v_precision split_precision(const char *name, char *rest) {
	static const struct {
		const char *suffix;
		d2v_precision precision;
	} table[] = { { ":bf16", D2V_PRECISION_BF16 }, { ":f16", D2V_PRECISION_F16 }, { ":tf32", D2V_PRECISION_TF32 },
		{ ":f32", D2V_PRECISION_F32 } };
	snprintf(rest, 32, "%s", name);
	size_t length = strlen(rest);
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		size_t cut = strlen(table[i].suffix);
		if (length > cut && strcmp(rest + length - cut, table[i].suffix) == 0) {
			rest[length - cut] = 0;
			return table[i].precision;
		}
	}
	return D2V_PRECISION_BF16;
}

static d2v_status open_auto(d2v_device **device, d2v_error *err) {
	if (d2v_cuda_open(device, 0, D2V_PRECISION_BF16, NULL) == D2V_OK)
		return D2V_OK;
	return d2v_cpu_open(device, 0, err);
}

d2v_status d2v_device_open(d2v_device **device, const char *name, d2v_error *err) {
	*device = NULL;
	int threads = 0, index = 0;
	char gpu[32];
	d2v_precision precision = split_precision(name, gpu);
	if (strcmp(name, "auto") == 0)
		D2V_TRY(open_auto(device, err));
	else if (split_name(name, "cpu", &threads) && !(threads == 0 && name[3]))
		D2V_TRY(d2v_cpu_open(device, threads, err));
	else if (split_name(gpu, "cuda", &index))
		D2V_TRY(d2v_cuda_open(device, index, precision, err));
	else
		return d2v_fail(
			err, D2V_INVALID, "%s: no such device; there are cpu, cpu:THREADS, auto, cuda and cuda:INDEX, also with :bf16 "
			"(the default), :f16, :tf32 or :f32 behind", name);
	const char *sync = getenv("D2V_SYNC");
	(*device)->sync_each = sync && strcmp(sync, "1") == 0;
	return D2V_OK;
}

void d2v_device_close(d2v_device *device) {
	if (device)
		device->backend->close(device);
}

const char *d2v_device_name(const d2v_device *device) {
	return device->name;
}
int d2v_device_threads(const d2v_device *device) {
	return device->threads;
}
size_t d2v_device_real_size(const d2v_device *device) {
	return device->real_size;
}

double d2v_device_real_max(const d2v_device *device) {
	return device->real_max;
}

double d2v_device_datasheet(const d2v_device *device) {
	return device->datasheet;
}
void d2v_device_memory(d2v_device *device, size_t *left, size_t *all) {
	device->backend->memory(device, left, all);
}

d2v_status d2v_device_alloc(d2v_device *device, void *out, size_t bytes, d2v_error *err) {
	return device->backend->alloc(device, out, bytes, err);
}

void d2v_device_free(d2v_device *device, void *pointer) {
	if (pointer)
		device->backend->free(device, pointer);
}

d2v_status d2v_device_alloc_host(d2v_device *device, void *out, size_t bytes, d2v_error *err) {
	return device->backend->alloc_host(device, out, bytes, err);
}

void d2v_device_free_host(d2v_device *device, void *pointer) {
	if (pointer)
		device->backend->free_host(device, pointer);
}

void d2v_device_upload(d2v_device *device, void *to, const void *from_host, size_t bytes) {
	if (bytes && !device->dry)
		device->backend->upload(device, to, from_host, bytes);
}

void d2v_device_download(d2v_device *device, void *to_host, const void *from, size_t bytes) {
	if (bytes && !device->dry)
		device->backend->download(device, to_host, from, bytes);
}

void d2v_device_upload_ahead(d2v_device *device, void *to, const void *from_host, size_t bytes) {
	if (bytes && !device->dry)
		device->backend->upload_ahead(device, to, from_host, bytes);
}

void d2v_device_await_uploads(d2v_device *device) {
	if (!device->dry)
		device->backend->await_uploads(device);
}

// With a wait after every operation there is nothing to keep.
bool d2v_device_graph_begin(d2v_device *device, uint64_t shape) {
	return device->backend->graph_begin && !device->no_graphs && !device->sync_each && device->first.status == D2V_OK &&
		   device->backend->graph_begin(device, shape);
}

bool d2v_device_graph_end(d2v_device *device, bool keep) {
	return device->backend->graph_end(device, keep);
}

bool d2v_device_graph_launch(d2v_device *device) {
	if (!device->backend->graph_launch || device->first.status != D2V_OK || !device->backend->graph_launch(device))
		return false;
	device->graphs.launched++;
	return true;
}

void d2v_device_graph_allow(d2v_device *device, bool allow) {
	device->no_graphs = !allow;
}
d2v_graph_counts d2v_device_graphs(const d2v_device *device) {
	return device->graphs;
}

void d2v_device_copy(d2v_device *device, void *to, const void *from, size_t bytes) {
	if (bytes && !device->dry)
		device->backend->copy(device, to, from, bytes);
}

void d2v_device_zero(d2v_device *device, void *to, size_t bytes) {
	if (bytes && !device->dry)
		device->backend->zero(device, to, bytes);
}

void d2v_device_to_real(d2v_device *device, d2v_real *to, const float *from, size_t count) {
	if (count && !device->dry)
		device->backend->to_real(device, to, from, count);
}

void d2v_device_to_float(d2v_device *device, float *to, const d2v_real *from, size_t count) {
	if (count && !device->dry)
		device->backend->to_float(device, to, from, count);
}

d2v_real *d2v_real_at(const d2v_device *device, const d2v_real *p, size_t index) {
	// By way of an integer: the pointer may be a measuring arena's, and const is the caller's business.
	return (d2v_real *)((uintptr_t)p + index * device->real_size);
}

d2v_status d2v_device_sync(d2v_device *device, d2v_error *err) {
	device->backend->sync(device);
	d2v_error first = device->first;
	d2v_error_clear(&device->first);
	if (first.status == D2V_OK)
		return D2V_OK;
	return d2v_fail(err, first.status, "%s", first.text);
}

void d2v_device_set_error(d2v_device *device, d2v_status status, const char *format, ...) {
	if (device->first.status != D2V_OK)
		return;
	va_list args;
	va_start(args, format);
	d2v_fail_va(&device->first, status, format, args);
	va_end(args);
	if (device->current)
		d2v_error_prefix(&device->first, "%s: %s", device->name, device->current);
}
