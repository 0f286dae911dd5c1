#include <cuda_runtime.h>
#include <emulated_bulk_copy.h>
#include <emulated_races.h>
#include <emulated_wgmma.h>

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <vector>

#define STACK_BYTES (256 << 10)
#define WARP 32
#define MOST_SHARED (227 * 1024) // bytes of a block

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace {

enum State { READY, AT_BLOCK, AT_WARP, AT_GROUP, AT_BARRIER, DONE };

struct Copy {
	void *to;
	const void *from;
	size_t bytes, zeros;
};

// Made once; it runs a thread of a block, and then waits for the next.
struct Fiber {
	std::vector<std::vector<Copy>> copies; // groups under way, the last one open
	ucontext_t start;
	jmp_buf where;
	State state = DONE;
	int group = 0; // AT_GROUP: the barrier's number, and how many meet there
	size_t group_size = 0;
	dim3 index;
	int parity = 0; // of the exchange: a lane may be one ahead of another
	size_t number;  // in the block
	bool meets;     // AT_WARP: what others have done is to be known
	bool started = false;
	const uint64_t *barrier; // in shared memory, of one AT_BARRIER
	unsigned parity_waited;
};

// What the lanes of a warp posted in an exchange, and the product of matrices that it was for, if it was for one.
struct Exchange {
	uint32_t words[WARP][8];
	bool multiplied;
	float sums[16][8];
};

struct Warp {
	Exchange exchanges[2];
};

std::vector<Fiber *> fibers;
std::vector<Warp> warps;
std::vector<unsigned char> shared_bytes;
size_t shared_size;
ucontext_t scheduler_start;
jmp_buf scheduler;
Fiber *running;
d2v_emulated_thread entry;
void *entry_context;

void give_way(State state) {
	running->state = state;
	if (_setjmp(running->where) == 0)
		_longjmp(scheduler, 1);
}

void begin() {
	for (;;) {
		entry(entry_context);
		give_way(DONE);
	}
}

void resume(Fiber *fiber) {
	running = fiber;
	threadIdx = fiber->index;
	d2v_races_run(fiber->number);
	if (_setjmp(scheduler) == 0) {
		if (fiber->started)
			_longjmp(fiber->where, 1);
		fiber->started = true;
		swapcontext(&scheduler_start, &fiber->start);
	}
}

void prepare(size_t count) {
	while (fibers.size() < count) {
		Fiber *fiber = new Fiber;
		getcontext(&fiber->start);
		fiber->start.uc_stack.ss_sp = malloc(STACK_BYTES);
		fiber->start.uc_stack.ss_size = STACK_BYTES;
		fiber->start.uc_link = nullptr;
		makecontext(&fiber->start, begin, 0);
		fiber->number = fibers.size();
		fibers.push_back(fiber);
	}
	if (warps.size() < (count + WARP - 1) / WARP)
		warps.resize((count + WARP - 1) / WARP);
}

// Threads from `first` to `end` go on if all of them are at such a barrier.
bool release_together(size_t first, size_t end, State state) {
	size_t met[1024], count = 0;
	for (size_t i = first; i < end; i++)
		if (fibers[i]->state != state && fibers[i]->state != DONE)
			return false;
	for (size_t i = first; i < end; i++)
		if (fibers[i]->state == state) {
			fibers[i]->state = READY;
			met[count++] = i;
		}
	if (count && (state != AT_WARP || fibers[met[0]]->meets))
		d2v_races_meet(met, count);
	return count > 0;
}

// Those of a block go on that meet at a barrier of their own, if they are as many as it takes.
bool release_groups(size_t first, size_t end) {
	bool any = false;
	for (size_t i = first; i < end; i++) {
		std::vector<Fiber *> met;
		for (size_t j = i; j < end && fibers[i]->state == AT_GROUP; j++)
			if (fibers[j]->state == AT_GROUP && fibers[j]->group == fibers[i]->group)
				met.push_back(fibers[j]);
		if (met.empty() || met.size() != fibers[i]->group_size)
			continue;
		std::vector<size_t> numbers;
		for (Fiber *fiber : met) {
			fiber->state = READY;
			numbers.push_back(fiber->number);
		}
		d2v_races_meet(numbers.data(), numbers.size());
		any = true;
	}
	return any;
}

// Lets those go on whose barrier everybody of theirs has reached. False: nobody could.
bool release(size_t count) {
	bool any = false;
	for (size_t first = 0; first < count; first += WARP)
		any = release_together(first, first + WARP < count ? first + WARP : count, AT_WARP) || any;
	for (size_t i = 0; i < count; i++)
		if (fibers[i]->state == AT_BARRIER && d2v_emulate_barrier_is_open(fibers[i]->barrier, fibers[i]->parity_waited)) {
			fibers[i]->state = READY;
			any = true;
		}
	any = release_together(0, count, AT_BLOCK) || any;
	return release_groups(0, count) || any;
}

void run_block(size_t count) {
	d2v_races_begin(count, blockIdx.x + blockIdx.y + blockIdx.z == 0);
	d2v_emulate_products_begin(count);
	d2v_emulate_boxes_begin();
	for (size_t i = 0; i < count; i++) {
		Fiber *fiber = fibers[i];
		fiber->state = READY;
		fiber->parity = 0;
		fiber->copies.assign(1, {});
		fiber->index = dim3((unsigned)(i % blockDim.x), (unsigned)(i / blockDim.x % blockDim.y),
			(unsigned)(i / blockDim.x / blockDim.y));
	}
	for (;;) {
		for (size_t i = 0; i < count; i++)
			if (fibers[i]->state == READY)
				resume(fibers[i]);
		if (release(count) || d2v_emulate_land_box())
			continue;
		for (size_t i = 0; i < count; i++)
			if (fibers[i]->state != DONE) {
				fprintf(stderr, "emulation: block %u: thread %zu waits at a barrier that others never reach\n", blockIdx.x, i);
				abort();
			}
		d2v_emulate_products_end(count);
		d2v_emulate_boxes_end();
		d2v_races_end();
		return;
	}
}

} // namespace

void d2v_emulate_block_barrier(void) {
	give_way(AT_BLOCK);
}

void d2v_emulate_group_barrier(int number, size_t threads) {
	running->group = number, running->group_size = threads;
	give_way(AT_GROUP);
}

void d2v_emulate_barrier_wait(const uint64_t *barrier, unsigned parity) {
	running->barrier = barrier;
	running->parity_waited = parity;
	give_way(AT_BARRIER);
	d2v_races_barrier_pass(barrier);
}

const uint32_t (*d2v_emulate_exchange(const uint32_t *words, int count))[8] {
	Fiber *self = running;
	self->meets = count == 0;
	size_t linear = self->index.x + blockDim.x * (self->index.y + (size_t)blockDim.y * self->index.z);
	Warp *warp = &warps[linear / WARP];
	int parity = self->parity;
	self->parity ^= 1;
	memcpy(warp->exchanges[parity].words[linear % WARP], words, (size_t)count * sizeof *words);
	warp->exchanges[parity].multiplied = false;
	give_way(AT_WARP);
	return warp->exchanges[parity].words;
}

// Element (i, k) of a and (k, j) of b are in these lanes' words: "Matrix fragments for mma.m16n8k16" of the PTX ISA.
const float (*d2v_emulate_multiply(const uint32_t (*lanes)[8], int depth, float (*element)(uint16_t)))[8] {
	static float a[16][16], b[16][8];
	Exchange *exchange = (Exchange *)lanes; // the words are its first part
	if (exchange->multiplied)
		return exchange->sums;
	for (int k = 0; k < depth; k++) {
		int lane = k % 8 / 2, shift = k % 2 * 16;
		for (int i = 0; i < 16; i++)
			a[i][k] = element((uint16_t)(lanes[4 * (i % 8) + lane][k / 8 * 2 + i / 8] >> shift));
		for (int j = 0; j < 8; j++)
			b[k][j] = element((uint16_t)(lanes[4 * j + lane][depth / 8 * 2 + k / 8] >> shift));
	}
	for (int i = 0; i < 16; i++)
		for (int j = 0; j < 8; j++) {
			float sum = 0;
			for (int k = 0; k < depth; k++)
				sum += a[i][k] * b[k][j];
			exchange->sums[i][j] = sum;
		}
	exchange->multiplied = true;
	return exchange->sums;
}

void d2v_emulate_copy_async(void *to, const void *from, size_t bytes, size_t zeros) {
	d2v_races_read(from, bytes);
	d2v_races_write(to, bytes + zeros);
	running->copies.back().push_back(Copy{ to, from, bytes, zeros });
}

void d2v_emulate_copy_commit(void) {
	running->copies.push_back({});
}

void d2v_emulate_copy_wait(size_t pending) {
	std::vector<std::vector<Copy>> &groups = running->copies;
	while (groups.size() > pending + 1) {
		for (const Copy &copy : groups.front()) {
			if (copy.bytes)
				memcpy(copy.to, copy.from, copy.bytes);
			memset((char *)copy.to + copy.bytes, 0, copy.zeros);
			d2v_emulate_shared_store(copy.to, copy.bytes + copy.zeros);
			d2v_races_write(copy.to, copy.bytes + copy.zeros);
		}
		groups.erase(groups.begin());
	}
}

unsigned char *d2v_emulate_shared(void) {
	return (unsigned char *)(((uintptr_t)shared_bytes.data() + 1023) / 1024 * 1024);
}

size_t d2v_emulate_shared_size(void) {
	return shared_size;
}

unsigned d2v_emulate_shared_address(const void *at) {
	return (unsigned)((const unsigned char *)at - d2v_emulate_shared());
}

void d2v_emulate_grid(d2v_emulated_thread thread, void *context, dim3 grid, dim3 block, size_t shared) {
	size_t count = (size_t)block.x * block.y * block.z;
	if (count == 0 || count > 1024 || shared > MOST_SHARED) {
		fprintf(stderr, "emulation: %zu threads with %zu bytes of shared memory: no GPU takes that\n", count, shared);
		abort();
	}
	d2v_emulated_access access;
	prepare(count);
	shared_size = shared;
	shared_bytes.assign(shared + 1024, 0xA5); // what nobody wrote is no number
	entry = thread;
	entry_context = context;
	gridDim = grid;
	blockDim = block;
	for (unsigned z = 0; z < grid.z; z++)
		for (unsigned y = 0; y < grid.y; y++)
			for (unsigned x = 0; x < grid.x; x++) {
				blockIdx = dim3(x, y, z);
				run_block(count);
			}
}

void __threadfence() {
	d2v_races_device_fence();
}

unsigned atomicAdd(unsigned *p, unsigned more) {
	d2v_races_atomic(p);
	unsigned before = *p;
	*p += more;
	return before;
}

// ---- device memory
//
// One stretch of addresses that nobody may touch but while a kernel or a copy runs: host code that follows a device
// pointer dies at once, as it would with a GPU.

#define ARENA_BYTES D2V_EMULATED_ARENA_BYTES
#define GAP ((size_t)256) // between pieces: what is written past an end meets nobody

namespace {

size_t round_up(size_t bytes) {
	return (bytes + 1 + 255) / 256 * 256;
}

struct Piece {
	size_t at, size;
};

struct Arena {
	unsigned char *base = nullptr;
	size_t used = 0; // up to here pages were opened
	int open = 0;
	std::vector<Piece> pieces; // in order of their place

	void *take(size_t bytes) {
		size_t size = bytes > ARENA_BYTES ? ARENA_BYTES : round_up(bytes) + GAP, at = 0, i = 0;
		if (!base)
			base = (unsigned char *)mmap(nullptr, ARENA_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		for (; i < pieces.size() && pieces[i].at < at + size; i++)
			at = pieces[i].at + pieces[i].size;
		if (base == MAP_FAILED || at + size > ARENA_BYTES)
			return nullptr;
		pieces.insert(pieces.begin() + (long)i, Piece{ at, size });
		used = at + size > used ? at + size : used;
		d2v_emulated_access access;
		memset(base + at, 0xFF, size); // NaN, whatever the type
		return base + at;
	}
	void give(void *pointer) {
		for (size_t i = 0; pointer && i < pieces.size(); i++)
			if (base + pieces[i].at == pointer) {
				d2v_emulated_access access;
				memset(pointer, 0xFF, pieces[i].size); // so that who still uses it gets NaN
				pieces.erase(pieces.begin() + (long)i);
				return;
			}
	}
	void protect(int how) {
		if (base && used)
			mprotect(base, used, how);
	}
};

Arena device_memory;

struct Pinned {
	unsigned char *at;
	size_t size;
};
std::vector<Pinned> pinned;

bool is_pinned(const void *pointer) {
	for (const Pinned &piece : pinned)
		if (pointer >= piece.at && pointer < piece.at + piece.size)
			return true;
	return false;
}

} // namespace

bool d2v_emulate_is_pinned(const void *at) {
	return is_pinned(at);
}
const void *d2v_emulate_arena(void) {
	return device_memory.base;
}

d2v_emulated_access::d2v_emulated_access() {
	if (device_memory.open++ == 0)
		device_memory.protect(PROT_READ | PROT_WRITE);
}
d2v_emulated_access::~d2v_emulated_access() {
	if (--device_memory.open == 0)
		device_memory.protect(PROT_NONE);
}

// ---- the runtime

extern "C" {

const char *cudaGetErrorString(cudaError_t error) {
	switch (error) {
	case cudaSuccess:
		return "no error";
	case cudaErrorMemoryAllocation:
		return "out of memory";
	case cudaErrorStreamCaptureUnsupported:
		return "operation not permitted when stream is capturing";
	case cudaErrorStreamCaptureInvalidated:
		return "operation failed due to a previous error during capture";
	default:
		return "an error";
	}
}
cudaError_t cudaGetLastError(void) {
	return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int *count) {
	*count = 1;
	return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *card, int) {
	const char *name = getenv("D2V_EMULATED_CARD");
	snprintf(card->name, sizeof card->name, "%s", name ? name : "emulated");
	return cudaSuccess;
}
cudaError_t cudaSetDevice(int) {
	return cudaSuccess;
}
cudaError_t cudaGetDevice(int *device) {
	*device = 0;
	return cudaSuccess;
}
// What a test would rather have than a whole card: D2V_EMULATED_PROCESSORS, few, so that a block has several pieces of work, or as
// many as a card has, since some work is cut by that; D2V_EMULATED_SHARED, bytes of a block: with less, rings come round sooner.
static int told(const char *name, int otherwise) {
	const char *value = getenv(name);
	return value ? atoi(value) : otherwise;
}
cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr which, int) {
	switch ((int)which) {
	case cudaDevAttrMultiProcessorCount:
		*value = told("D2V_EMULATED_PROCESSORS", 2);
		break;
	case (int)cudaDevAttrComputeCapabilityMajor:
		*value = 9;
		break;
	default:
		*value = told("D2V_EMULATED_SHARED", MOST_SHARED);
	}
	return cudaSuccess;
}
cudaError_t cudaMalloc(void **pointer, size_t bytes) {
	*pointer = device_memory.take(bytes);
	return *pointer ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFree(void *pointer) {
	if (pointer)
		d2v_emulate_wait_for_all();
	device_memory.give(pointer);
	return cudaSuccess;
}
cudaError_t cudaHostAlloc(void **pointer, size_t bytes, unsigned) {
	*pointer = bytes > ARENA_BYTES ? nullptr : aligned_alloc(256, round_up(bytes));
	if (!*pointer)
		return cudaErrorMemoryAllocation;
	memset(*pointer, 0xFF, bytes);
	pinned.push_back(Pinned{ (unsigned char *)*pointer, bytes });
	return cudaSuccess;
}
cudaError_t cudaFreeHost(void *pointer) {
	d2v_emulate_wait_for_all();
	for (size_t i = 0; i < pinned.size(); i++)
		if (pinned[i].at == pointer)
			pinned.erase(pinned.begin() + (long)i--);
	free(pointer);
	return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t *left, size_t *all) {
	*left = *all = (size_t)1 << 30;
	return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream) {
	if (kind == cudaMemcpyHostToDevice && !is_pinned(from)) {
		std::vector<unsigned char> kept((const unsigned char *)from, (const unsigned char *)from + bytes);
		d2v_emulate_enqueue(stream, D2V_EMULATED_UPLOAD, [=] {
			d2v_emulated_access access;
			memcpy(to, kept.data(), bytes);
		});
	} else {
		d2v_emulate_enqueue(stream, kind == cudaMemcpyHostToDevice ? D2V_EMULATED_UPLOAD : D2V_EMULATED_COPY, [=] {
			d2v_emulated_access access;
			memmove(to, from, bytes);
		});
	}
	return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream) {
	d2v_emulate_enqueue(stream, D2V_EMULATED_MEMSET, [=] {
		d2v_emulated_access access;
		memset(to, value, bytes);
	});
	return cudaSuccess;
}
}
