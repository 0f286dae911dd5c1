#include "kernels/cuda/cuda_dnn.h"

#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "kernels/cuda/dnn_abi.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#define LIBRARY "libcudnn.so.9"
#define WORKSPACE ((size_t)512 << 20) // ways that need more are passed over
#define PLACES 2048                   // for plans; at most half are taken
#define CONFIGS 16                    // looked at, of what the heuristics propose

typedef struct dnn_api {
#define D2V_DNN_POINTER(name, arguments) int(*name) arguments;
	D2V_DNN_FUNCTIONS(D2V_DNN_POINTER)
#undef D2V_DNN_POINTER
	const char *(*cudnnGetErrorString)(int status);
} dnn_api;

typedef struct kept_plan {
	d2v_dnn_shape shape; // rows == 0: a free place
	d2v_dnn_plan plan;   // execution NULL: refused
} kept_plan;

struct d2v_cuda_dnn {
	dnn_api api;
	cudnnHandle_t handle; // NULL: there is no cuDNN
	int type;             // of the arrays: CUDNN_DATA_HALF or CUDNN_DATA_BFLOAT16
	bool refused;         // the warning was given
	kept_plan plans[PLACES];
	int count;
};

// ---- the library

static bool find_functions(dnn_api *api, void *library) {
	static const struct {
		const char *name;
		size_t place;
	} functions[] = {
#define D2V_DNN_NAME(name, arguments) { #name, offsetof(dnn_api, name) },
		D2V_DNN_FUNCTIONS(D2V_DNN_NAME)
#undef D2V_DNN_NAME
			{ "cudnnGetErrorString", offsetof(dnn_api, cudnnGetErrorString) },
	};
	for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
		void *function = dlsym(library, functions[i].name);
		if (!function)
			return false;
		memcpy((char *)api + functions[i].place, &function, sizeof function);
	}
	return true;
}

// The library stays loaded until the program ends. text: what is wrong, when it returns false.
static bool open_library(struct d2v_cuda_dnn *self, cudaStream_t stream, char *text, size_t size) {
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!library || !find_functions(&self->api, library)) {
		const char *why = dlerror();
		snprintf(text, size, "%s", why ? why : LIBRARY " lacks a function");
		return false;
	}
	int status = self->api.cudnnCreate(&self->handle);
	if (status == CUDNN_STATUS_SUCCESS)
		status = self->api.cudnnSetStream(self->handle, stream);
	if (status == CUDNN_STATUS_SUCCESS)
		return true;
	snprintf(text, size, LIBRARY ": %s", self->api.cudnnGetErrorString(status));
	if (self->handle)
		self->api.cudnnDestroy(self->handle);
	self->handle = NULL;
	return false;
}

// The device's, made when first asked for. NULL: the device has the error.
static struct d2v_cuda_dnn *dnn_of(d2v_device *dev) {
	d2v_cuda *cuda = d2v_cuda_of(dev);
	d2v_error err = { 0 };
	char text[256];
	if (cuda->dnn)
		return cuda->dnn;
	if (d2v_alloc_zero(&cuda->dnn, 1, sizeof *cuda->dnn, &err) != D2V_OK) {
		d2v_device_set_error(dev, err.status, "cuDNN: %s", err.text);
		return NULL;
	}
	cuda->dnn->type = cuda->precision == D2V_PRECISION_F16 ? CUDNN_DATA_HALF : CUDNN_DATA_BFLOAT16;
	if (!open_library(cuda->dnn, cuda->stream, text, sizeof text))
		d2v_warn("%s: no cuDNN (%s): dense convolutions are done without, several times slower; cuDNN 9 in the folders of "
				 "LD_LIBRARY_PATH would be used",
			dev->name, text);
	return cuda->dnn;
}

// ---- making descriptors
//
// A maker holds what is made on the way to a plan, remembers that something failed, and gives all back at the end.

typedef struct maker {
	const dnn_api *api;
	int type; // of the arrays
	cudnnBackendDescriptor_t made[2 * CONFIGS + 16];
	int count;
	bool failed;
} maker;

static cudnnBackendDescriptor_t make(maker *m, cudnnBackendDescriptorType_t type) {
	cudnnBackendDescriptor_t made = NULL;
	D2V_ASSERT(m->count < (int)(sizeof m->made / sizeof *m->made));
	if (m->api->cudnnBackendCreateDescriptor(type, &made) != CUDNN_STATUS_SUCCESS)
		m->failed = true;
	else
		m->made[m->count++] = made;
	return made;
}

static void unmake(maker *m) {
	while (m->count)
		m->api->cudnnBackendDestroyDescriptor(m->made[--m->count]);
}

static void set(maker *m, cudnnBackendDescriptor_t to, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
	int64_t count, const void *values) {
	if (!m->failed && m->api->cudnnBackendSetAttribute(to, name, type, count, values) != CUDNN_STATUS_SUCCESS)
		m->failed = true;
}

static void set_numbers(
	maker *m, cudnnBackendDescriptor_t to, cudnnBackendAttributeName_t name, int64_t count, const int64_t *values) {
	set(m, to, name, CUDNN_TYPE_INT64, count, values);
}

static void set_descriptor(
	maker *m, cudnnBackendDescriptor_t to, cudnnBackendAttributeName_t name, cudnnBackendDescriptor_t value) {
	set(m, to, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static void set_choice(maker *m, cudnnBackendDescriptor_t to, cudnnBackendAttributeName_t name,
	cudnnBackendAttributeType_t type, int value) {
	set(m, to, name, type, 1, &value);
}

static bool get(maker *m, cudnnBackendDescriptor_t from, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
	int64_t room, int64_t *count, void *values) {
	*count = 0;
	return !m->failed && m->api->cudnnBackendGetAttribute(from, name, type, room, count, values) == CUDNN_STATUS_SUCCESS;
}

static void finish(maker *m, cudnnBackendDescriptor_t what) {
	if (!m->failed && m->api->cudnnBackendFinalize(what) != CUDNN_STATUS_SUCCESS)
		m->failed = true;
}

// ---- the convolution as a graph of one operation

enum { X = 'x', W = 'w', Y = 'y' }; // names of the arrays within the graph

static cudnnBackendDescriptor_t make_array(
	maker *m, int64_t name, int64_t n, int64_t height, int64_t width, int64_t channels) {
	cudnnBackendDescriptor_t made = make(m, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
	int64_t sizes[] = { n, channels, height, width }, alignment = 16;
	int64_t strides[] = { height * width * channels, 1, width * channels, channels };
	set_choice(m, made, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, m->type);
	set_numbers(m, made, CUDNN_ATTR_TENSOR_DIMENSIONS, 4, sizes);
	set_numbers(m, made, CUDNN_ATTR_TENSOR_STRIDES, 4, strides);
	set_numbers(m, made, CUDNN_ATTR_TENSOR_UNIQUE_ID, 1, &name);
	set_numbers(m, made, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 1, &alignment);
	finish(m, made);
	return made;
}

static int64_t positions(int64_t in, int64_t pads, int64_t kernel, int64_t stride) {
	return in + pads < kernel ? 0 : (in + pads - kernel) / stride + 1;
}

// Zeros after the end so that there are `out` positions: as many as before, unless the last position is left out or added.
// Negative: there is no such number.
static int64_t pad_after(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t pad) {
	if (positions(in, 2 * pad, kernel, stride) == out)
		return pad;
	int64_t need = (out - 1) * stride + kernel - in - pad;
	return need < 0 && positions(in, pad, kernel, stride) == out ? 0 : need;
}

static cudnnBackendDescriptor_t make_convolution(maker *m, const d2v_dnn_shape *s) {
	cudnnBackendDescriptor_t made = make(m, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
	int64_t dimensions = 2, ones[] = { 1, 1 }, strides[] = { s->stride_h, s->stride_w }, before[] = { s->pad_h, s->pad_w };
	int64_t after[] = { pad_after(s->in_h, s->out_h, s->kernel_h, s->stride_h, s->pad_h),
		pad_after(s->in_w, s->out_w, s->kernel_w, s->stride_w, s->pad_w) };
	if (after[0] < 0 || after[1] < 0)
		m->failed = true;
	set_choice(m, made, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT);
	set_choice(m, made, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, CUDNN_CROSS_CORRELATION);
	set_numbers(m, made, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 1, &dimensions);
	set_numbers(m, made, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, 2, before);
	set_numbers(m, made, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, 2, after);
	set_numbers(m, made, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, 2, strides);
	set_numbers(m, made, CUDNN_ATTR_CONVOLUTION_DILATIONS, 2, ones);
	finish(m, made);
	return made;
}

static cudnnBackendDescriptor_t make_operation(maker *m, const d2v_dnn_shape *s) {
	static const struct {
		cudnnBackendDescriptorType_t type;
		cudnnBackendAttributeName_t x, w, y, convolution, alpha, beta;
	} ways[] = {
		[D2V_DNN_FORWARD] = { CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
			CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
			CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
			CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA },
		[D2V_DNN_BACKWARD_X] = { CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
			CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
			CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
			CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA },
		[D2V_DNN_BACKWARD_W] = { CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
			CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
			CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
			CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA },
	};
	cudnnBackendDescriptor_t x = make_array(m, X, s->rows, s->in_h, s->in_w, s->in);
	cudnnBackendDescriptor_t w = make_array(m, W, s->out, s->kernel_h, s->kernel_w, s->in);
	cudnnBackendDescriptor_t y = make_array(m, Y, s->rows, s->out_h, s->out_w, s->out);
	cudnnBackendDescriptor_t convolution = make_convolution(m, s), made = make(m, ways[s->way].type);
	float one = 1, before = s->accumulate ? 1 : 0;
	set_descriptor(m, made, ways[s->way].x, x);
	set_descriptor(m, made, ways[s->way].w, w);
	set_descriptor(m, made, ways[s->way].y, y);
	set_descriptor(m, made, ways[s->way].convolution, convolution);
	set(m, made, ways[s->way].alpha, CUDNN_TYPE_FLOAT, 1, &one);
	set(m, made, ways[s->way].beta, CUDNN_TYPE_FLOAT, 1, &before);
	finish(m, made);
	return made;
}

static cudnnBackendDescriptor_t make_graph(maker *m, cudnnHandle_t handle, const d2v_dnn_shape *s) {
	cudnnBackendDescriptor_t operation = make_operation(m, s);
	cudnnBackendDescriptor_t made = make(m, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
	set(m, made, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
	set_descriptor(m, made, CUDNN_ATTR_OPERATIONGRAPH_OPS, operation);
	finish(m, made);
	return made;
}

// ---- choosing a way

// Same bytes every time, on the tensor cores, and no corner is cut.
static bool is_wanted(maker *m, cudnnBackendDescriptor_t config, int64_t *number) {
	const unsigned wanted = 1u << CUDNN_NUMERICAL_NOTE_TENSOR_CORE,
				   unwanted = 1u << CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS |
		1u << CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION | 1u << CUDNN_NUMERICAL_NOTE_FFT |
		1u << CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC | 1u << CUDNN_NUMERICAL_NOTE_WINOGRAD;
	cudnnBackendDescriptor_t engine = make(m, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
	int notes[32];
	int64_t count = 0;
	unsigned bits = 0;
	if (!get(m, config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, &engine) ||
		!get(m, engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &count, number) ||
		!get(m, engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, 32, &count, notes))
		return false;
	for (int64_t i = 0; i < count && i < 32; i++)
		bits |= 1u << (notes[i] & 31);
	return bits & wanted && !(bits & unwanted);
}

// False: this configuration cannot do it after all.
static bool plan_config(
	const struct d2v_cuda_dnn *self, cudnnBackendDescriptor_t config, cudnnBackendDescriptor_t *execution, size_t *workspace) {
	maker m = { .api = &self->api };
	int64_t bytes = 0, count = 0;
	cudnnBackendDescriptor_t made = make(&m, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
	set(&m, made, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &self->handle);
	set_descriptor(&m, made, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
	finish(&m, made);
	bool fine = get(&m, made, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &count, &bytes) && bytes >= 0 &&
		(size_t)bytes <= WORKSPACE;
	if (!fine) {
		unmake(&m);
		return false;
	}
	*execution = made;
	*workspace = (size_t)bytes;
	return true;
}

// Takes config out of what the maker gives back.
static void keep(maker *m, cudnnBackendDescriptor_t config) {
	int at = 0;
	while (m->made[at] != config)
		at++;
	m->made[at] = m->made[--m->count];
}

// The first way of a mode's proposals that will do, after passing over *skip of them.
static bool search(const struct d2v_cuda_dnn *self, const d2v_dnn_shape *s, int mode, int *skip, d2v_dnn_plan *plan) {
	maker m = { .api = &self->api, .type = self->type };
	cudnnBackendDescriptor_t configs[CONFIGS], graph = make_graph(&m, self->handle, s);
	cudnnBackendDescriptor_t heuristics = make(&m, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
	int64_t count = 0;
	bool found = false;
	set_descriptor(&m, heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
	set_choice(&m, heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, mode);
	finish(&m, heuristics);
	for (int i = 0; i < CONFIGS; i++)
		configs[i] = make(&m, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
	get(&m, heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, CONFIGS, &count, configs);
	for (int64_t i = 0; i < count && i < CONFIGS && !found; i++) {
		found = is_wanted(&m, configs[i], &plan->engine) &&
			plan_config(self, configs[i], &plan->execution, &plan->workspace);
		if (found && (*skip)-- > 0) {
			self->api.cudnnBackendDestroyDescriptor(plan->execution);
			found = false;
		}
		if (found)
			keep(&m, plan->config = configs[i]);
	}
	unmake(&m);
	return found;
}

static bool is_small(const d2v_dnn_shape *s) {
	return s->rows * s->in_h * s->in_w * s->in <= INT32_MAX && s->rows * s->out_h * s->out_w * s->out <= INT32_MAX;
}

// What the heuristics advise before what they fall back to.
static bool choose(const struct d2v_cuda_dnn *self, const d2v_dnn_shape *s, d2v_dnn_plan *plan) {
	int skip = s->candidate;
	if (!is_small(s))
		return false;
	if (search(self, s, CUDNN_HEUR_MODE_A, &skip, plan) || search(self, s, CUDNN_HEUR_MODE_FALLBACK, &skip, plan))
		return true;
	*plan = (d2v_dnn_plan){ 0 };
	return false;
}

// ---- keeping plans

static void forget(struct d2v_cuda_dnn *self) {
	for (int i = 0; i < PLACES; i++)
		if (self->plans[i].plan.execution) {
			self->api.cudnnBackendDestroyDescriptor(self->plans[i].plan.execution);
			self->api.cudnnBackendDestroyDescriptor(self->plans[i].plan.config);
		}
	memset(self->plans, 0, sizeof self->plans);
	self->count = 0;
}

static kept_plan *place_for(struct d2v_cuda_dnn *self, const d2v_dnn_shape *s) {
	size_t at = (size_t)d2v_hash64(s, sizeof *s) % PLACES;
	while (self->plans[at].shape.rows && memcmp(&self->plans[at].shape, s, sizeof *s) != 0)
		at = (at + 1) % PLACES;
	return &self->plans[at];
}

static const char *const way_names[] = { "forward", "back to x", "back to w" };

static void say_refused(d2v_device *dev, struct d2v_cuda_dnn *self, const d2v_dnn_shape *s) {
	if (!self->refused && s->candidate == 0)
		d2v_warn("%s: cuDNN has no repeatable way for a convolution of %ld x %ld x %ld positions, %ld to %ld channels, %dx%d, %s: it "
				 "is done without, several times slower",
			dev->name, (long)s->rows, (long)s->out_h, (long)s->out_w, (long)s->in, (long)s->out, s->kernel_h, s->kernel_w,
			way_names[s->way]);
	self->refused = self->refused || s->candidate == 0;
}

const d2v_dnn_plan *d2v_cuda_dnn_find(d2v_device *dev, const d2v_dnn_shape *shape) {
	struct d2v_cuda_dnn *self = dnn_of(dev);
	if (!self || !self->handle)
		return NULL;
	kept_plan *place = place_for(self, shape);
	if (!place->shape.rows) {
		if (2 * ++self->count > PLACES) {
			d2v_cuda_graphs_spoil(dev);
			forget(self);
			self->count = 1;
			place = place_for(self, shape);
		}
		place->shape = *shape;
		if (!choose(self, shape, &place->plan))
			say_refused(dev, self, shape);
		else
			d2v_debug("cuDNN: %ld x %ld, %ld to %ld channels, %dx%d, %s: engine %ld, %zu bytes of workspace",
				(long)shape->rows, (long)shape->out_w, (long)shape->in, (long)shape->out, shape->kernel_h, shape->kernel_w,
				way_names[shape->way], (long)place->plan.engine, place->plan.workspace);
	}
	return place->plan.execution ? &place->plan : NULL;
}

void d2v_cuda_dnn_free(struct d2v_cuda_dnn *self) {
	if (!self)
		return;
	if (self->handle) {
		forget(self);
		self->api.cudnnDestroy(self->handle);
	}
	d2v_free(self);
}

// ---- running

void d2v_cuda_dnn_run(
	d2v_device *dev, const d2v_dnn_plan *plan, const void *x, const void *w, const void *y, void *workspace) {
	const struct d2v_cuda_dnn *self = d2v_cuda_of(dev)->dnn;
	maker m = { .api = &self->api };
	cudnnBackendDescriptor_t pack = make(&m, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
	int64_t names[] = { X, W, Y };
	const void *arrays[] = { x, w, y };
	set_numbers(&m, pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, 3, names);
	set(&m, pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3, arrays);
	set(&m, pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
	finish(&m, pack);
	if (m.failed) {
		d2v_device_set_error(dev, D2V_IO, "cuDNN: the arguments of a convolution were refused");
	} else {
		int status = self->api.cudnnBackendExecute(self->handle, plan->execution, pack);
		if (status != CUDNN_STATUS_SUCCESS)
			d2v_device_set_error(dev, D2V_IO, "cuDNN: convolution: %s", self->api.cudnnGetErrorString(status));
	}
	unmake(&m);
}
