// A warpgroup's asynchronous products (kernels/cuda/wgmma.cuh) as the PTX ISA has them: matrix descriptors with all
// four swizzles and both orders, fragments, groups.
//
// They are computed when they are asked for, but d holds NaN until the wait that covers them, and by then what they
// read must not have changed: so a missing wait, on either side, fails. So do products without the fence before them,
// shared memory that was written without a fence of its proxies, and warps of a warpgroup that do not do the same.
#include <cuda_runtime.h>
#include <emulated_wgmma.h>

#include <stdio.h>
#include <stdlib.h>
#include <vector>

#define K 16
#define MOST_COLUMNS 256
#define GROUP 128 // threads of a warpgroup

namespace {

struct Matrix {
	uint64_t descriptor;
	int order; // 0: k runs along the rows of shared memory, 1: it does not
};

struct Product {
	float *d;
	int count; // of a thread's sums
	float sums[MOST_COLUMNS / 2];
	Matrix a, b;
	bool a_is_shared;
	uint64_t digest; // of what it read
};

struct Range {
	size_t first, end; // words of shared memory
};

struct Thread {
	std::vector<std::vector<Product>> groups; // under way, the last one open
	std::vector<Range> unfenced;              // written, and not visible to products yet
	bool fenced = false;
	uint64_t history = 0; // of all products' arguments
};

std::vector<Thread> threads;
std::vector<uint32_t> unfenced_words; // of shared memory, 4 bytes each: how often written and not fenced yet

[[noreturn]] void fail(const char *what) {
	fprintf(stderr, "emulation: block %u, thread %u: %s\n", blockIdx.x, threadIdx.x, what);
	abort();
}

uint64_t mix(uint64_t digest, uint64_t word) {
	return (digest ^ word) * 0x100000001b3u + (digest >> 47);
}

Thread &self() {
	return threads[threadIdx.x + blockDim.x * (threadIdx.y + (size_t)blockDim.y * threadIdx.z)];
}

// Where element (i, k) of a or b is, i the row of a or the column of b. The canonical layouts of "Shared Memory Matrix
// Layout", for elements of 2 bytes.
size_t element_address(const Matrix &m, int i, int k) {
	size_t start = (size_t)(m.descriptor & 0x3fff) << 4;
	size_t leading = (size_t)(m.descriptor >> 16 & 0x3fff) << 4, stride = (size_t)(m.descriptor >> 32 & 0x3fff) << 4;
	int mode = (int)(m.descriptor >> 62), bits = mode == 0 ? 0 : 4 - mode; // of the swizzle: 128, 64, 32 bytes
	size_t packs = (size_t)1 << bits, row = packs * 16;
	size_t si = (size_t)i, sk = (size_t)k, at;
	if (m.descriptor >> 49 & 7)
		fail("a matrix with a base offset: row 0 of a swizzled pattern is to be aligned");
	if (m.order == 0)
		at = si % 8 * row + si / 8 * stride + (mode ? sk * 2 : sk / 8 * leading + sk % 8 * 2);
	else if (mode == 0)
		at = si % 8 * 2 + si / 8 * stride + sk % 8 * 16 + sk / 8 * leading;
	else
		at = si % 8 * 2 + si / 8 % packs * 16 + si / (8 * packs) * leading + sk % 8 * row + sk / 8 * stride;
	at += start;
	return at ^ ((at >> 7 & (packs - 1)) << 4);
}

// The element, and its address and value into the digest.
float read_element(const Matrix &m, int i, int k, uint64_t &digest) {
	size_t at = element_address(m, i, k);
	if (at + 2 > d2v_emulate_shared_size())
		fail("a matrix reaches beyond the shared memory of the block");
	const unsigned char *from = d2v_emulate_shared() + at;
	if (unfenced_words[at / 4])
		fail("products read what was written without shared_fence()");
	uint16_t bits;
	memcpy(&bits, from, sizeof bits);
	digest = mix(digest, bits);
	uint32_t word = (uint32_t)bits << 16;
	float x;
	memcpy(&x, &word, sizeof x);
	return x;
}

// The 16 elements of the thread's rows of a (upper, lower), and of its columns of b, in the order of its sums.
struct Operands {
	float a[2][K], b[MOST_COLUMNS / 4][K];
	uint64_t digest = 0;

	void read(const Product &p, const uint32_t (*lanes)[8]) {
		int lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4;
		for (int half = 0; half < 2; half++)
			for (int k = 0; k < K; k++)
				if (p.a_is_shared) {
					a[half][k] = read_element(p.a, (int)threadIdx.x % GROUP / 32 * 16 + g + 8 * half, k, digest);
				} else if (lanes) {
					uint32_t word = lanes[4 * g + k % 8 / 2][k / 8 * 2 + half] >> (k % 2 * 16) << 16;
					memcpy(&a[half][k], &word, sizeof word);
				}
		for (int n = 0; n < p.count / 2; n++)
			for (int k = 0; k < K; k++)
				b[n][k] = read_element(p.b, n / 2 * 8 + 2 * t + n % 2, k, digest);
	}
};

// What d will be when all that is under way has ended.
const float *newest_sums(const Thread &thread, const float *d) {
	for (size_t g = thread.groups.size(); g-- > 0;)
		for (size_t i = thread.groups[g].size(); i-- > 0;)
			if (thread.groups[g][i].d == d)
				return thread.groups[g][i].sums;
	return d;
}

} // namespace

void d2v_emulate_products(
	float *d, int columns, const uint32_t *a_words, uint64_t a, int a_order, uint64_t b, int b_order, bool add) {
	Thread &thread = self();
	static Operands operands; // no fiber gives way between here and the end but in the exchange
	Product p;
	p.d = d, p.count = columns / 2, p.a = Matrix{ a, a_order }, p.b = Matrix{ b, b_order }, p.a_is_shared = !a_words;
	if (!thread.fenced)
		fail("products without products_fence() since the last wait");
	const uint32_t none[4] = { 0, 0, 0, 0 };
	const uint32_t(*lanes)[8] = d2v_emulate_exchange(a_words ? a_words : none, 4);
	operands.digest = 0;
	operands.read(p, lanes);
	p.digest = operands.digest;
	const float *before = newest_sums(thread, d);
	for (int i = 0; i < p.count; i++) {
		float sum = 0; // i: block of 8 columns, upper or lower row, first or second column
		for (int k = 0; k < K; k++)
			sum += operands.a[i % 4 / 2][k] * operands.b[i / 4 * 2 + i % 2][k];
		p.sums[i] = add ? before[i] + sum : sum;
	}
	memset(d, 0xff, (size_t)p.count * sizeof *d);
	thread.history =
		mix(mix(mix(thread.history, a_words ? 1 : a), b), (uint64_t)(columns * 8 + a_order * 4 + b_order * 2 + add));
	thread.groups.back().push_back(p);
}

void d2v_emulate_products_fence(void) {
	self().fenced = true;
}

void d2v_emulate_products_commit(void) {
	self().groups.push_back({});
}

void d2v_emulate_products_wait(size_t pending) {
	Thread &thread = self();
	static Operands operands;
	while (thread.groups.size() > pending + 1) {
		std::vector<Product> ended = thread.groups.front();
		thread.groups.erase(thread.groups.begin());
		for (const Product &p : ended) {
			operands.digest = 0;
			operands.read(p, nullptr);
			if (operands.digest != p.digest)
				fail("shared memory was written to while products read it");
			if (newest_sums(thread, p.d) == p.d)
				memcpy(p.d, p.sums, (size_t)p.count * sizeof *p.d);
		}
	}
	thread.fenced = false;
}

void d2v_emulate_shared_store(const void *to, size_t bytes) {
	const unsigned char *at = (const unsigned char *)to, *first = d2v_emulate_shared();
	if (at < first || at >= first + d2v_emulate_shared_size())
		return;
	Range range = { (size_t)(at - first) / 4, ((size_t)(at - first) + bytes + 3) / 4 };
	self().unfenced.push_back(range);
	for (size_t word = range.first; word < range.end; word++)
		unfenced_words[word]++;
}

void d2v_emulate_shared_fence(void) {
	for (const Range &range : self().unfenced)
		for (size_t word = range.first; word < range.end; word++)
			unfenced_words[word]--;
	self().unfenced.clear();
}

bool d2v_emulate_shared_is_fenced(const void *from, size_t bytes) {
	size_t first = (size_t)((const unsigned char *)from - d2v_emulate_shared()) / 4;
	for (size_t word = first; word < first + bytes / 4; word++)
		if (unfenced_words[word])
			return false;
	return true;
}

void d2v_emulate_products_begin(size_t count) {
	if (threads.size() < count)
		threads.resize(count);
	for (Thread &thread : threads) {
		thread.groups.resize(1);
		thread.groups[0].clear();
		thread.unfenced.clear();
		thread.fenced = false;
		thread.history = 0;
	}
	unfenced_words.assign(d2v_emulate_shared_size() / 4 + 1, 0);
}

void d2v_emulate_products_end(size_t count) {
	for (size_t i = 0; i < count; i++) {
		if (threads[i].groups.size() > 1 || !threads[i].groups[0].empty())
			fail("the block ended with products under way");
		if (threads[i].history != threads[i / GROUP * GROUP].history)
			fail("the warps of a warpgroup did not ask for the same products");
	}
}
