#include "kernels/cpu/cpu.h"

#include "base/memory.h"
#include "base/parallel.h"

#include <float.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_PAGE ((size_t)2 << 20)
#define COPY_PIECE ((int64_t)1 << 20) // bytes

static void cpu_close(d2v_device *dev) {
	d2v_cpu *cpu = (d2v_cpu *)dev;
	d2v_free(cpu->scratch);
	d2v_free(cpu);
}

// All of them, also where OMP_DYNAMIC lets OpenMP take fewer on a busy machine: where a product is cut depends on their
// number, and with that its bytes.
static void cpu_enter(d2v_device *dev) {
	omp_set_dynamic(0);
	omp_set_num_threads(dev->threads);
}
static void cpu_sync(d2v_device *dev) {
	(void)dev;
}

// The heap's alignment is 64. The block's true start is kept just below what is handed out.
static d2v_status cpu_alloc(d2v_device *dev, void *out, size_t bytes, d2v_error *err) {
	(void)dev;
	void *none = NULL, *block;
	memcpy(out, &none, sizeof none);
	size_t align = bytes >= 2 * HUGE_PAGE ? HUGE_PAGE : D2V_CPU_ALIGN, size;
	if (!d2v_add_fits(bytes, align + sizeof block, &size))
		return d2v_fail(err, D2V_NO_MEMORY, "%zu bytes: more than there can be", bytes);
	D2V_TRY(d2v_alloc(&block, size, 1, err));
	uintptr_t start = ((uintptr_t)block + sizeof block + align - 1) / align * align;
	memcpy((void *)(start - sizeof block), &block, sizeof block);
	if (align ==
		HUGE_PAGE) // Gigabytes walked from end to end: fewer TLB misses. Advice only, so the answer is not looked at.
		madvise((void *)start, bytes, MADV_HUGEPAGE);
	void *pointer = (void *)start;
	memcpy(out, &pointer, sizeof pointer);
	return D2V_OK;
}

static void cpu_free(d2v_device *dev, void *pointer) {
	(void)dev;
	void *block;
	memcpy(&block, (char *)pointer - sizeof block, sizeof block);
	d2v_free(block);
}

static void cpu_copy(d2v_device *dev, void *to, const void *from, size_t bytes) {
	cpu_enter(dev);
#pragma omp parallel for schedule(static) if ((int64_t)bytes > COPY_PIECE)
	for (int64_t at = 0; at < (int64_t)bytes; at += COPY_PIECE)
		memcpy((char *)to + at, (const char *)from + at, (size_t)d2v_cpu_min(COPY_PIECE, (int64_t)bytes - at));
}

// They were there at once.
static void cpu_await_uploads(d2v_device *dev) {
	(void)dev;
}

static void cpu_zero(d2v_device *dev, void *to, size_t bytes) {
	cpu_enter(dev);
#pragma omp parallel for schedule(static) if ((int64_t)bytes > COPY_PIECE)
	for (int64_t at = 0; at < (int64_t)bytes; at += COPY_PIECE)
		memset((char *)to + at, 0, (size_t)d2v_cpu_min(COPY_PIECE, (int64_t)bytes - at));
}

static void cpu_to_real(d2v_device *dev, d2v_real *to, const float *from, size_t count) {
	if (from != d2v_cpu_out(to))
		cpu_copy(dev, to, from, count * sizeof(float));
}

static void cpu_to_float(d2v_device *dev, float *to, const d2v_real *from, size_t count) {
	if (to != d2v_cpu_in(from))
		cpu_copy(dev, to, from, count * sizeof(float));
}

float *d2v_cpu_scratch(d2v_device *dev, int64_t floats) {
	d2v_cpu *cpu = (d2v_cpu *)dev;
	size_t bytes = (size_t)d2v_cpu_round(floats) * sizeof(float);
	if (cpu->scratch && bytes <= cpu->scratch_size)
		return cpu->scratch;
	d2v_free(cpu->scratch);
	cpu->scratch = NULL;
	cpu->scratch_size = 0;
	size_t size = bytes + bytes / 4; // a little more: shapes of steps differ
	d2v_error err = { 0 };
	if (d2v_alloc(&cpu->scratch, size, 1, &err) != D2V_OK) {
		d2v_device_set_error(dev, err.status, "scratch memory: %s", err.text);
		return NULL;
	}
	cpu->scratch_size = size;
	return cpu->scratch;
}

void d2v_cpu_add_partials(float *sum, const float *partial, int64_t pieces, int64_t stride, int64_t count) {
#pragma omp parallel for schedule(static) if (pieces * count > 1 << 16)
	for (int64_t block = 0; block < count; block += D2V_CPU_LINE) {
		int64_t n = d2v_cpu_min(D2V_CPU_LINE, count - block);
		double total[D2V_CPU_LINE] = { 0 };
		for (int64_t piece = 0; piece < pieces; piece++) {
			const float *from = partial + piece * stride + block;
			for (int64_t i = 0; i < n; i++)
				total[i] += (double)from[i];
		}
		for (int64_t i = 0; i < n; i++)
			sum[block + i] += (float)total[i];
	}
}

// What the kernel could give without swapping is more than what is free; it says so in /proc/meminfo alone.
static void cpu_memory(d2v_device *dev, size_t *left, size_t *all) {
	(void)dev;
	size_t page = (size_t)sysconf(_SC_PAGESIZE), kilobytes;
	*all = (size_t)sysconf(_SC_PHYS_PAGES) * page;
	*left = (size_t)sysconf(_SC_AVPHYS_PAGES) * page;
	FILE *file = fopen("/proc/meminfo", "r");
	char line[128];
	while (file && fgets(line, sizeof line, file))
		if (sscanf(line, "MemAvailable: %zu kB", &kilobytes) == 1)
			*left = kilobytes << 10;
	if (file)
		fclose(file);
}

static const d2v_backend cpu_backend = {
	.close = cpu_close,
	.enter = cpu_enter,
	.sync = cpu_sync,
	.memory = cpu_memory,
	.alloc = cpu_alloc,
	.free = cpu_free,
	.alloc_host = cpu_alloc,
	.free_host = cpu_free,
	.upload = cpu_copy,
	.upload_ahead = cpu_copy,
	.await_uploads = cpu_await_uploads,
	.download = cpu_copy,
	.copy = cpu_copy,
	.zero = cpu_zero,
	.to_real = cpu_to_real,
	.to_float = cpu_to_float,
#define D2V_CPU_ENTRY(name, type) .name = d2v_cpu_##name,
	D2V_STRUCT_OPS(D2V_CPU_ENTRY)
#undef D2V_CPU_ENTRY
		.attention_bias = d2v_cpu_attention_bias,
	.drop = d2v_cpu_drop,
	.add = d2v_cpu_add,
	.sum_squares = d2v_cpu_sum_squares,
};

// What OMP_NUM_THREADS says, or else a thread a processor.
static int all_threads(void) {
	int most = omp_get_max_threads(), processors = d2v_parallel_processors();
	return getenv("OMP_NUM_THREADS") || most < processors ? most : processors;
}

d2v_status d2v_cpu_open(d2v_device **device, int threads, d2v_error *err) {
	d2v_cpu *cpu;
	D2V_TRY(d2v_alloc_zero(&cpu, 1, sizeof *cpu, err));
	cpu->base.backend = &cpu_backend;
	cpu->base.threads = threads ? threads : all_threads();
	cpu->base.real_size = sizeof(float);
	cpu->base.real_max = (double)FLT_MAX;
	snprintf(cpu->base.name, sizeof cpu->base.name, "cpu:%d", cpu->base.threads);
	*device = &cpu->base;
	return D2V_OK;
}
