#include "kernels/cuda/cuda.h"

#include "base/memory.h"
#include "kernels/cuda/cuda_dnn.h"
#include "kernels/cuda/cuda_product.h"

#include <ctype.h>
#include <float.h>
#include <stdio.h>
#include <string.h>

bool d2v_cuda_check(d2v_device *dev, cudaError_t result, const char *what) {
	if (result == cudaSuccess)
		return true;
	d2v_status status = result == cudaErrorMemoryAllocation ? D2V_NO_MEMORY : D2V_IO;
	d2v_device_set_error(dev, status, "%s: %s", what, cudaGetErrorString(result));
	return false;
}

static d2v_status fail_cuda(d2v_error *err, cudaError_t result, const char *what) {
	d2v_status status = result == cudaErrorMemoryAllocation ? D2V_NO_MEMORY : D2V_IO;
	return d2v_fail(err, status, "%s: %s", what, cudaGetErrorString(result));
}

static void cuda_enter(d2v_device *dev) {
	d2v_cuda_check(dev, cudaSetDevice(d2v_cuda_of(dev)->index), "choosing the GPU");
}

static void cuda_sync(d2v_device *dev) {
	d2v_cuda_check(dev, cudaStreamSynchronize(d2v_cuda_of(dev)->stream), "waiting for the GPU");
}

static void cuda_close(d2v_device *dev) {
	d2v_cuda *cuda = d2v_cuda_of(dev);
	cudaSetDevice(cuda->index);
	if (cuda->uploads)
		cudaStreamSynchronize(cuda->uploads);
	if (cuda->stream)
		cudaStreamSynchronize(cuda->stream);
	d2v_cuda_graphs_free(cuda->graphs);
	d2v_cuda_dnn_free(cuda->dnn);
	d2v_cuda_products_free(cuda->products);
	cudaFree(cuda->scratch);
	if (cuda->uploaded)
		cudaEventDestroy(cuda->uploaded);
	if (cuda->uploads)
		cudaStreamDestroy(cuda->uploads);
	if (cuda->stream)
		cudaStreamDestroy(cuda->stream);
	d2v_free(cuda);
}

// ---- memory

static void cuda_memory(d2v_device *dev, size_t *left, size_t *all) {
	cuda_enter(dev);
	*left = *all = 0;
	d2v_cuda_check(dev, cudaMemGetInfo(left, all), "asking for the memory");
}

static d2v_status hand_out(void *out, void *pointer) {
	memcpy(out, &pointer, sizeof pointer);
	return D2V_OK;
}

static d2v_status cuda_alloc(d2v_device *dev, void *out, size_t bytes, d2v_error *err) {
	void *pointer = NULL;
	hand_out(out, NULL);
	cudaSetDevice(d2v_cuda_of(dev)->index);
	cudaError_t result = cudaMalloc(&pointer, bytes ? bytes : 1);
	if (result != cudaSuccess) {
		cudaGetLastError(); // it was told; the next call starts clean
		size_t left = 0, all = 0;
		cudaMemGetInfo(&left, &all);
		return d2v_fail(err, D2V_NO_MEMORY,
			"%s: %zu MiB of GPU memory were asked for, %zu of %zu MiB are left: %s; a smaller batch or fewer clones at a "
			"time need less (see --plan)",
			dev->name, bytes >> 20, left >> 20, all >> 20, cudaGetErrorString(result));
	}
	return hand_out(out, pointer);
}

static void cuda_free(d2v_device *dev, void *pointer) {
	cudaSetDevice(d2v_cuda_of(dev)->index);
	cudaFree(pointer);
}

// Portable and mapped: a kernel may read it where it lies, which the tests use.
static d2v_status cuda_alloc_host(d2v_device *dev, void *out, size_t bytes, d2v_error *err) {
	void *pointer = NULL;
	hand_out(out, NULL);
	cudaSetDevice(d2v_cuda_of(dev)->index);
	cudaError_t result = cudaHostAlloc(&pointer, bytes ? bytes : 1, cudaHostAllocPortable | cudaHostAllocMapped);
	if (result != cudaSuccess) {
		cudaGetLastError();
		return fail_cuda(err, result, "pinned host memory");
	}
	return hand_out(out, pointer);
}

static void cuda_free_host(d2v_device *dev, void *pointer) {
	cudaSetDevice(d2v_cuda_of(dev)->index);
	cudaFreeHost(pointer);
}

static void transfer(
	d2v_device *dev, void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream) {
	cuda_enter(dev);
	d2v_cuda_check(dev, cudaMemcpyAsync(to, from, bytes, kind, stream), "copying");
}

static void cuda_upload(d2v_device *dev, void *to, const void *from, size_t bytes) {
	transfer(dev, to, from, bytes, cudaMemcpyHostToDevice, d2v_cuda_of(dev)->stream);
}

static void cuda_upload_ahead(d2v_device *dev, void *to, const void *from, size_t bytes) {
	transfer(dev, to, from, bytes, cudaMemcpyHostToDevice, d2v_cuda_of(dev)->uploads);
}

static void cuda_await_uploads(d2v_device *dev) {
	d2v_cuda *cuda = d2v_cuda_of(dev);
	cuda_enter(dev);
	if (d2v_cuda_check(dev, cudaEventRecord(cuda->uploaded, cuda->uploads), "marking the end of uploads"))
		d2v_cuda_check(dev, cudaStreamWaitEvent(cuda->stream, cuda->uploaded, 0), "waiting for uploads");
}

static void cuda_download(d2v_device *dev, void *to, const void *from, size_t bytes) {
	transfer(dev, to, from, bytes, cudaMemcpyDeviceToHost, d2v_cuda_of(dev)->stream);
	cuda_sync(dev);
}

static void cuda_copy(d2v_device *dev, void *to, const void *from, size_t bytes) {
	transfer(dev, to, from, bytes, cudaMemcpyDeviceToDevice, d2v_cuda_of(dev)->stream);
}

static void cuda_zero(d2v_device *dev, void *to, size_t bytes) {
	cuda_enter(dev);
	d2v_cuda_check(dev, cudaMemsetAsync(to, 0, bytes, d2v_cuda_of(dev)->stream), "zeroing");
}

void *d2v_cuda_scratch(d2v_device *dev, size_t bytes) {
	d2v_cuda *cuda = d2v_cuda_of(dev);
	if (cuda->scratch && bytes <= cuda->scratch_size)
		return cuda->scratch;
	if (d2v_cuda_graph_is_open(dev)) {
		d2v_device_set_error(dev, D2V_INVALID, "it needs %zu bytes of scratch memory, there are %zu", bytes, cuda->scratch_size);
		return NULL;
	}
	d2v_cuda_graphs_spoil(dev);
	cuda_sync(dev); // what runs may still use the old one
	cudaFree(cuda->scratch);
	cuda->scratch = NULL;
	cuda->scratch_size = 0;
	size_t size = d2v_cuda_round(bytes + bytes / 4 + 1); // a little more: shapes of steps differ
	if (!d2v_cuda_check(dev, cudaMalloc(&cuda->scratch, size), "scratch memory"))
		return NULL;
	cuda->scratch_size = size;
	return cuda->scratch;
}

// ---- opening

static const d2v_backend cuda_backend = {
	.close = cuda_close,
	.enter = cuda_enter,
	.sync = cuda_sync,
	.memory = cuda_memory,
	.alloc = cuda_alloc,
	.free = cuda_free,
	.alloc_host = cuda_alloc_host,
	.free_host = cuda_free_host,
	.upload = cuda_upload,
	.upload_ahead = cuda_upload_ahead,
	.await_uploads = cuda_await_uploads,
	.graph_begin = d2v_cuda_graph_begin,
	.graph_end = d2v_cuda_graph_end,
	.graph_launch = d2v_cuda_graph_launch,
	.download = cuda_download,
	.copy = cuda_copy,
	.zero = cuda_zero,
	.to_real = d2v_cuda_to_real,
	.to_float = d2v_cuda_to_float,
#define D2V_CUDA_ENTRY(name, type) .name = d2v_cuda_##name,
	D2V_STRUCT_OPS(D2V_CUDA_ENTRY)
#undef D2V_CUDA_ENTRY
		.attention_kept_bytes = d2v_cuda_attention_kept_bytes,
	.attention_bias = d2v_cuda_attention_bias,
	.drop = d2v_cuda_drop,
	.add = d2v_cuda_add,
	.sum_squares = d2v_cuda_sum_squares,
};

// Whether text has the name in it as words of its own: an "RTX A4000" is no "A40".
static bool has_words(const char *text, const char *name) {
	size_t length = strlen(name);
	for (const char *at = text; (at = strstr(at, name)); at++)
		if ((at == text || !isalnum((unsigned char)at[-1])) && !isalnum((unsigned char)at[length]))
			return true;
	return false;
}

// Dense products of bf16 or f16, equally fast, with f32 sums, from NVIDIA's data sheets; the first name that the card's has
// in it counts. Cards that are not here, a notebook's among them, are measured.
static double datasheet_of(int index, d2v_precision precision) {
	static const struct {
		const char *name;
		double tflops;
	} cards[] = { { "H200", 989 }, { "GH200", 989 }, { "H100 NVL", 835 }, { "H100 PCIe", 756 }, { "H100", 989 }, { "H800", 989 },
		{ "B200", 2250 }, { "B100", 1750 }, { "A100", 312 }, { "A800", 312 }, { "A40", 149.7 }, { "A30", 165 }, { "A10", 125 },
		{ "L40S", 362 }, { "L40", 181 }, { "L4", 121 }, { "RTX 4090", 165.2 }, { "RTX 3090", 71 } };
	struct cudaDeviceProp card;
	bool is_16_bit = precision == D2V_PRECISION_BF16 || precision == D2V_PRECISION_F16;
	if (!is_16_bit || cudaGetDeviceProperties(&card, index) != cudaSuccess)
		return 0;
	for (size_t i = 0; i < sizeof cards / sizeof *cards; i++)
		if (has_words(card.name, cards[i].name) && !has_words(card.name, "Laptop"))
			return cards[i].tflops * 1e12;
	return 0;
}

static d2v_status check_gpu(int index, d2v_error *err) {
	int count = 0;
	cudaError_t result = cudaGetDeviceCount(&count);
	if (result != cudaSuccess)
		return d2v_fail(err, D2V_UNSUPPORTED, "cuda:%d: %s; is there an NVIDIA GPU with its driver? device \"cpu\" works without",
			index, cudaGetErrorString(result));
	if (index >= count)
		return d2v_fail(err, D2V_UNSUPPORTED, "cuda:%d: there are %d GPUs, counted from 0", index, count);
	return D2V_OK;
}

static d2v_status open_gpu(d2v_cuda *cuda, d2v_error *err) {
	cudaError_t result = cudaSetDevice(cuda->index);
	if (result == cudaSuccess)
		result = cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking);
	if (result == cudaSuccess)
		result = cudaStreamCreateWithFlags(&cuda->uploads, cudaStreamNonBlocking);
	if (result == cudaSuccess)
		result = cudaEventCreateWithFlags(&cuda->uploaded, cudaEventDisableTiming);
	if (result != cudaSuccess)
		return fail_cuda(err, result, cuda->base.name);
	D2V_TRY(d2v_cuda_graphs_new(&cuda->graphs, err));
	return d2v_cuda_products_new(&cuda->products, cuda->precision, cuda->stream, err);
}

d2v_status d2v_cuda_open(d2v_device **device, int index, d2v_precision precision, d2v_error *err) {
	static const struct {
		const char *suffix;
		size_t size;
		double max;
	} types[] = {
		[D2V_PRECISION_BF16] = { "", 2, 0x1.fep127 },
		[D2V_PRECISION_F16] = { ":f16", 2, 65504 },
		[D2V_PRECISION_TF32] = { ":tf32", sizeof(float), (double)FLT_MAX },
		[D2V_PRECISION_F32] = { ":f32", sizeof(float), (double)FLT_MAX },
	};
	*device = NULL;
	D2V_TRY(check_gpu(index, err));
	d2v_cuda *cuda;
	D2V_TRY(d2v_alloc_zero(&cuda, 1, sizeof *cuda, err));
	cuda->base.backend = &cuda_backend;
	cuda->base.real_size = types[precision].size;
	cuda->base.real_max = types[precision].max;
	cuda->base.datasheet = datasheet_of(index, precision);
	cuda->index = index;
	cuda->precision = precision;
	snprintf(cuda->base.name, sizeof cuda->base.name, "cuda:%d%s", index, types[precision].suffix);
	d2v_status status = open_gpu(cuda, err);
	if (status != D2V_OK) {
		cuda_close(&cuda->base);
		return status;
	}
	*device = &cuda->base;
	return D2V_OK;
}
