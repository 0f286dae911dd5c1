#include "tests/gpu/fused_dnn.h"

#include "base/memory.h"
#include "kernels/cuda/dnn_abi.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#define LIBRARY "libcudnn.so.9"
#define CONFIGS 32 // looked at, of what the heuristics propose
#define MOST 160   // descriptors

struct fused_dnn {
#define POINTER(name, arguments) int(*name) arguments;
	D2V_DNN_FUNCTIONS(POINTER)
#undef POINTER
	const char *(*cudnnGetErrorString)(int status);
	void (*cudnnGetLastErrorString)(char *text, size_t size);
	fused_way way;
	cudnnHandle_t handle;
	cudnnBackendDescriptor_t made[MOST], configs[CONFIGS], plan;
	int made_count;
	int64_t config_count;
	int status; // the first that was no success
	char why[FUSED_TEXT];
};

static bool load(fused_dnn *self, char text[FUSED_TEXT]) {
	static const struct {
		const char *name;
		size_t place;
	} functions[] = {
#define NAME(name, arguments) { #name, offsetof(fused_dnn, name) },
		D2V_DNN_FUNCTIONS(NAME)
#undef NAME
			{ "cudnnGetErrorString", offsetof(fused_dnn, cudnnGetErrorString) },
		{ "cudnnGetLastErrorString", offsetof(fused_dnn, cudnnGetLastErrorString) },
	};
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	for (size_t i = 0; library && i < sizeof functions / sizeof *functions; i++) {
		void *function = dlsym(library, functions[i].name);
		if (!function)
			library = NULL;
		memcpy((char *)self + functions[i].place, &function, sizeof function);
	}
	const char *why = library ? NULL : dlerror();
	if (!library)
		snprintf(text, FUSED_TEXT, "%s", why ? why : LIBRARY " lacks a function");
	return library != NULL;
}

// True: it was a success, and so was all before it. What cuDNN says of the first failure is kept.
static bool check(fused_dnn *self, int status) {
	if (status == CUDNN_STATUS_SUCCESS || self->status != CUDNN_STATUS_SUCCESS)
		return self->status == CUDNN_STATUS_SUCCESS;
	char last[FUSED_TEXT / 2] = "";
	self->cudnnGetLastErrorString(last, sizeof last);
	self->status = status;
	snprintf(self->why, sizeof self->why, "%s: %s", self->cudnnGetErrorString(status), last);
	for (char *c = self->why; *c; c++)
		*c = *c == '\n' ? ' ' : *c;
	return false;
}

// ---- descriptors

static cudnnBackendDescriptor_t make(fused_dnn *self, cudnnBackendDescriptorType_t type) {
	cudnnBackendDescriptor_t made = NULL;
	D2V_ASSERT(self->made_count < MOST);
	if (check(self, self->cudnnBackendCreateDescriptor(type, &made)))
		self->made[self->made_count++] = made;
	return made;
}

static void set(fused_dnn *self, cudnnBackendDescriptor_t to, cudnnBackendAttributeName_t name,
	cudnnBackendAttributeType_t type, int64_t count, const void *values) {
	if (self->status == CUDNN_STATUS_SUCCESS)
		check(self, self->cudnnBackendSetAttribute(to, name, type, count, values));
}

static void set_descriptor(
	fused_dnn *self, cudnnBackendDescriptor_t to, cudnnBackendAttributeName_t name, cudnnBackendDescriptor_t value) {
	set(self, to, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static cudnnBackendDescriptor_t finish(fused_dnn *self, cudnnBackendDescriptor_t what) {
	if (self->status == CUDNN_STATUS_SUCCESS)
		check(self, self->cudnnBackendFinalize(what));
	return what;
}

// A matrix of a batch of one; virtual ones, of f32, live in the kernel alone.
static cudnnBackendDescriptor_t matrix(
	fused_dnn *self, int64_t name, int64_t rows, int64_t columns, bool transposed, bool is_virtual) {
	cudnnBackendDescriptor_t made = make(self, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
	int64_t sizes[] = { 1, rows, columns }, alignment = 16;
	int64_t strides[] = { rows * columns, transposed ? 1 : columns, transposed ? rows : 1 };
	int type = is_virtual ? CUDNN_DATA_FLOAT : CUDNN_DATA_BFLOAT16;
	set(self, made, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
	set(self, made, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 3, sizes);
	set(self, made, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 3, strides);
	set(self, made, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &name);
	set(self, made, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
	set(self, made, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
	return finish(self, made);
}

static cudnnBackendDescriptor_t multiply(
	fused_dnn *self, cudnnBackendDescriptor_t a, cudnnBackendDescriptor_t b, cudnnBackendDescriptor_t c) {
	cudnnBackendDescriptor_t how = make(self, CUDNN_BACKEND_MATMUL_DESCRIPTOR);
	int compute = CUDNN_DATA_FLOAT;
	set(self, how, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
	finish(self, how);
	cudnnBackendDescriptor_t made = make(self, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
	set_descriptor(self, made, CUDNN_ATTR_OPERATION_MATMUL_ADESC, a);
	set_descriptor(self, made, CUDNN_ATTR_OPERATION_MATMUL_BDESC, b);
	set_descriptor(self, made, CUDNN_ATTR_OPERATION_MATMUL_CDESC, c);
	set_descriptor(self, made, CUDNN_ATTR_OPERATION_MATMUL_DESC, how);
	return finish(self, made);
}

// x, b (NULL: none) and y, or for a derivative x, dy and dx.
static cudnnBackendDescriptor_t pointwise(
	fused_dnn *self, int mode, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t b, cudnnBackendDescriptor_t y) {
	bool back = mode == CUDNN_POINTWISE_GELU_BWD;
	cudnnBackendDescriptor_t how = make(self, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
	int compute = CUDNN_DATA_FLOAT;
	set(self, how, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
	set(self, how, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &compute);
	finish(self, how);
	cudnnBackendDescriptor_t made = make(self, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
	set_descriptor(self, made, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how);
	set_descriptor(self, made, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
	if (b)
		set_descriptor(
			self, made, back ? CUDNN_ATTR_OPERATION_POINTWISE_DYDESC : CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
	set_descriptor(self, made, back ? CUDNN_ATTR_OPERATION_POINTWISE_DXDESC : CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
	return finish(self, made);
}

// ---- the graph

enum { X = 'x', W = 'w', BIAS = 'b', PRE = 'p', Y = 'y', PRODUCT = 'c' }; // names of the arrays within it

static cudnnBackendDescriptor_t make_graph(fused_dnn *self, int64_t m, int64_t n, int64_t k) {
	cudnnBackendDescriptor_t operations[3], made;
	cudnnBackendDescriptor_t x = matrix(self, X, m, k, false, false), y = matrix(self, Y, m, n, false, false);
	cudnnBackendDescriptor_t w = matrix(self, W, k, n, self->way != FUSED_BACKWARD, false);
	cudnnBackendDescriptor_t product = matrix(self, PRODUCT, m, n, false, true);
	cudnnBackendDescriptor_t pre = matrix(self, PRE, m, n, false, self->way == FUSED_ALONE);
	int64_t count = 0;
	operations[count++] = multiply(self, x, w, product);
	if (self->way == FUSED_BACKWARD) {
		operations[count++] = pointwise(self, CUDNN_POINTWISE_GELU_BWD, pre, product, y);
	} else {
		operations[count++] =
			pointwise(self, CUDNN_POINTWISE_ADD, product, matrix(self, BIAS, 1, n, false, false), pre);
		operations[count++] = pointwise(self, CUDNN_POINTWISE_GELU_FWD, pre, NULL, y);
	}
	made = make(self, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
	set(self, made, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &self->handle);
	set(self, made, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, operations);
	return finish(self, made);
}

static void ask_heuristics(fused_dnn *self, cudnnBackendDescriptor_t graph) {
	cudnnBackendDescriptor_t heuristics = make(self, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
	int mode = CUDNN_HEUR_MODE_A;
	set_descriptor(self, heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
	set(self, heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
	finish(self, heuristics);
	for (int i = 0; i < CONFIGS; i++)
		self->configs[i] = make(self, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
	if (self->status == CUDNN_STATUS_SUCCESS)
		check(self, self->cudnnBackendGetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS,
						CUDNN_TYPE_BACKEND_DESCRIPTOR, CONFIGS, &self->config_count, self->configs));
}

fused_dnn *fused_dnn_open(cudaStream_t stream, fused_way way, int64_t m, int64_t n, int64_t k, char text[FUSED_TEXT]) {
	fused_dnn *self;
	d2v_error err = { 0 };
	if (d2v_alloc_zero(&self, 1, sizeof *self, &err) != D2V_OK) {
		snprintf(text, FUSED_TEXT, "%.200s", err.text);
		return NULL;
	}
	self->way = way;
	if (!load(self, text)) {
		d2v_free(self);
		return NULL;
	}
	if (check(self, self->cudnnCreate(&self->handle)) && check(self, self->cudnnSetStream(self->handle, stream)))
		ask_heuristics(self, make_graph(self, m, n, k));
	if (self->status == CUDNN_STATUS_SUCCESS)
		return self;
	snprintf(text, FUSED_TEXT, "%s", self->why);
	fused_dnn_close(self);
	return NULL;
}

void fused_dnn_close(fused_dnn *self) {
	if (self->plan)
		self->cudnnBackendDestroyDescriptor(self->plan);
	while (self->made_count)
		self->cudnnBackendDestroyDescriptor(self->made[--self->made_count]);
	if (self->handle)
		self->cudnnDestroy(self->handle);
	d2v_free(self);
}

// ---- its kernels

// Engine and kernel of a configuration, in cuDNN's numbers; -1: it does not say.
static void name_config(fused_dnn *self, cudnnBackendDescriptor_t config, char text[FUSED_TEXT]) {
	enum { KNOBS = 32 };
	cudnnBackendDescriptor_t engine = NULL, knobs[KNOBS] = { NULL };
	int64_t number = -1, kernel = -1, count = 0, one;
	if (self->cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine) == CUDNN_STATUS_SUCCESS &&
		self->cudnnBackendGetAttribute(
			config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &one, &engine) == 0)
		self->cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &one, &number);
	for (int i = 0; i < KNOBS; i++)
		self->cudnnBackendCreateDescriptor(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, &knobs[i]);
	self->cudnnBackendGetAttribute(
		config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR, KNOBS, &count, knobs);
	for (int64_t i = 0; i < count && i < KNOBS; i++) {
		int type = -1;
		self->cudnnBackendGetAttribute(
			knobs[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &one, &type);
		if (type == CUDNN_KNOB_TYPE_KERNEL_CFG)
			self->cudnnBackendGetAttribute(
				knobs[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &one, &kernel);
	}
	for (int i = 0; i < KNOBS; i++)
		self->cudnnBackendDestroyDescriptor(knobs[i]);
	self->cudnnBackendDestroyDescriptor(engine);
	snprintf(text, FUSED_TEXT, "engine %ld kernel %ld", (long)number, (long)kernel);
}

bool fused_dnn_plan(fused_dnn *self, int number, size_t workspace, char text[FUSED_TEXT], bool *end) {
	int64_t bytes = 0, one;
	*end = number >= self->config_count || number >= CONFIGS;
	if (*end) {
		snprintf(text, FUSED_TEXT, "%ld proposals", (long)self->config_count);
		return false;
	}
	if (self->plan)
		self->cudnnBackendDestroyDescriptor(self->plan);
	self->plan = NULL;
	self->status = CUDNN_STATUS_SUCCESS;
	name_config(self, self->configs[number], text);
	if (!check(self, self->cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &self->plan)))
		self->plan = NULL;
	set(self, self->plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &self->handle);
	set_descriptor(self, self->plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, self->configs[number]);
	finish(self, self->plan);
	size_t length = strlen(text);
	if (self->status == CUDNN_STATUS_SUCCESS)
		check(self, self->cudnnBackendGetAttribute(
						self->plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &one, &bytes));
	if (self->status != CUDNN_STATUS_SUCCESS)
		snprintf(text + length, FUSED_TEXT - length, ": %s", self->why);
	else
		snprintf(text + length, FUSED_TEXT - length, " workspace %ld", (long)bytes);
	return self->status == CUDNN_STATUS_SUCCESS && bytes >= 0 && (size_t)bytes <= workspace;
}

bool fused_dnn_run(fused_dnn *self, const fused_arrays *a, char text[FUSED_TEXT]) {
	int64_t names[5], count = 0;
	const void *arrays[5], *workspace = a->workspace;
	cudnnBackendDescriptor_t pack = NULL;
	names[count] = X, arrays[count++] = a->x;
	names[count] = W, arrays[count++] = a->w;
	names[count] = Y, arrays[count++] = a->y;
	if (self->way != FUSED_ALONE)
		names[count] = PRE, arrays[count++] = a->pre;
	if (self->way != FUSED_BACKWARD)
		names[count] = BIAS, arrays[count++] = a->bias;
	self->status = CUDNN_STATUS_SUCCESS;
	check(self, self->cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack));
	set(self, pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, names);
	set(self, pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, arrays);
	set(self, pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
	finish(self, pack);
	if (self->status == CUDNN_STATUS_SUCCESS)
		check(self, self->cudnnBackendExecute(self->handle, self->plan, pack));
	if (pack)
		self->cudnnBackendDestroyDescriptor(pack);
	if (self->status != CUDNN_STATUS_SUCCESS)
		snprintf(text, FUSED_TEXT, "%s", self->why);
	return self->status == CUDNN_STATUS_SUCCESS;
}
