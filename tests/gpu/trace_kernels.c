// Where a GPU program's time goes: a library that CUDA loads by itself into any program (CUDA_INJECTION64_PATH names it) and
// that prints, when the program ends, every kernel and copy with its count, its time and its share of all.
//     CUDA_INJECTION64_PATH=build/cuda/tests/gpu/trace_kernels.so build/bin/d2v-train image-base ...
// (CUPTI, the activity records: NVIDIA's profiling interface.)
#include <cupti.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 1024
#define BUFFER ((size_t)8 << 20)

int InitializeInjection(void);

typedef struct total {
	char name[160];
	uint64_t count, nanoseconds;
} total;
static total totals[MOST];
static size_t used;
static uint64_t dropped;

static void add(const char *name, uint64_t nanoseconds) {
	size_t i = 0;
	while (i < used && strncmp(totals[i].name, name, sizeof totals[i].name - 1) != 0)
		i++;
	if (i == MOST) {
		dropped++;
		return;
	}
	if (i == used) {
		used++;
		snprintf(totals[i].name, sizeof totals[i].name, "%s", name);
	}
	totals[i].count++;
	totals[i].nanoseconds += nanoseconds;
}

static void CUPTIAPI give_buffer(uint8_t **buffer, size_t *size, size_t *most) {
	*buffer = aligned_alloc(8, BUFFER);
	*size = *buffer ? BUFFER : 0;
	*most = 0;
}

static void CUPTIAPI take_buffer(CUcontext context, uint32_t stream, uint8_t *buffer, size_t size, size_t valid) {
	CUpti_Activity *record = NULL;
	size_t lost = 0;
	(void)size;
	while (cuptiActivityGetNextRecord(buffer, valid, &record) == CUPTI_SUCCESS) {
		if (record->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) {
			const CUpti_ActivityKernel10 *kernel = (const void *)record;
			add(kernel->name, kernel->end - kernel->start);
		} else if (record->kind == CUPTI_ACTIVITY_KIND_MEMCPY) {
			const CUpti_ActivityMemcpy6 *copy = (const void *)record;
			add(copy->copyKind == CUPTI_ACTIVITY_MEMCPY_KIND_HTOD ? "[upload]"
					: copy->copyKind == CUPTI_ACTIVITY_MEMCPY_KIND_DTOH ? "[download]" : "[copy]",
				copy->end - copy->start);
		} else if (record->kind == CUPTI_ACTIVITY_KIND_MEMSET) {
			const CUpti_ActivityMemset4 *set = (const void *)record;
			add("[zero]", set->end - set->start);
		}
	}
	cuptiActivityGetNumDroppedRecords(context, stream, &lost);
	dropped += lost;
	free(buffer);
}

static int by_time(const void *a, const void *b) {
	const total *x = a, *y = b;
	return x->nanoseconds < y->nanoseconds ? 1 : x->nanoseconds > y->nanoseconds ? -1 : 0;
}

static void print_totals(void) {
	cuptiActivityFlushAll(1);
	uint64_t all = 0;
	for (size_t i = 0; i < used; i++)
		all += totals[i].nanoseconds;
	qsort(totals, used, sizeof *totals, by_time);
	fprintf(stderr, "%10s %8s %10s %6s  kernel\n", "ms", "count", "us each", "share");
	for (size_t i = 0; i < used; i++)
		fprintf(stderr, "%10.3f %8llu %10.2f %5.1f%%  %s\n", (double)totals[i].nanoseconds * 1e-6,
			(unsigned long long)totals[i].count, (double)totals[i].nanoseconds * 1e-3 / (double)totals[i].count,
			100.0 * (double)totals[i].nanoseconds / (double)all, totals[i].name);
	fprintf(stderr, "%10.3f ms in kernels and copies; %llu records were lost\n", (double)all * 1e-6, (unsigned long long)dropped);
}

// CUDA calls it once, before the program's first call takes effect.
int InitializeInjection(void) {
	cuptiActivityRegisterCallbacks(give_buffer, take_buffer);
	cuptiActivityEnable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL);
	cuptiActivityEnable(CUPTI_ACTIVITY_KIND_MEMCPY);
	cuptiActivityEnable(CUPTI_ACTIVITY_KIND_MEMSET);
	atexit(print_totals);
	return 1;
}
