// A warpgroup's asynchronous products (kernels/cuda/wgmma.cuh) as the PTX ISA has them: matrix descriptors with all
// four swizzles and both orders, fragments, groups.
//
// They are computed when they are asked for, but d holds NaN until the wait that covers them, and by then what they
// read must not have changed: so a missing wait, on either side, fails. So do products without the fence before them,
// shared memory that was written without a fence of its proxies, and warps of a warpgroup that do not do the same.
//
// A warp computes its 16 rows of a product once, when the first lane asks, and looks at what was read again when the
// last lane has waited.
#include <cuda_runtime.h>
#include <emulated_races.h>
#include <emulated_wgmma.h>

#include <deque>
#include <stdio.h>
#include <stdlib.h>
#include <utility>
#include <vector>

#define K 16
#define MOST_COLUMNS 256
#define WARP 32
#define GROUP 128 // threads of a warpgroup
#define ROWS 16   // of a that a warp multiplies
#define PACK 8    // elements that lie together

namespace {

struct Matrix {
	uint64_t descriptor;
	int order; // 0: k runs along the rows of shared memory, 1: it does not
};

// A warp's part of a product: what its lanes read together.
struct Tile {
	Matrix a, b;
	int columns;
	bool a_is_shared;
	size_t number;   // of its warp's
	uint64_t digest; // of what it read
	int waited;      // lanes
};

struct Warp {
	std::deque<Tile> under_way;
	size_t asked = 0; // tiles so far
	float sums[ROWS][MOST_COLUMNS]; // of the newest
};

struct Product {
	float *d;
	int count; // of a thread's sums
	float sums[MOST_COLUMNS / 2];
};

struct Range {
	size_t first, end; // words of shared memory
};

struct Thread {
	std::vector<std::vector<Product>> groups; // under way, the last one open
	std::vector<Range> unfenced;              // written, and not visible to products yet
	bool fenced = false;
	size_t asked = 0, waited = 0; // products so far
	uint64_t history = 0;         // of all products' arguments
};

std::vector<Thread> threads;
std::vector<Warp> warps;
std::vector<uint32_t> unfenced_words; // of shared memory, 4 bytes each: how often written and not fenced yet

[[noreturn]] void fail(const char *what) {
	fprintf(stderr, "emulation: block %u, thread %u: %s\n", blockIdx.x, threadIdx.x, what);
	abort();
}

uint64_t mix(uint64_t digest, uint64_t word) {
	return (digest ^ word) * 0x100000001b3u + (digest >> 47);
}

size_t self() {
	return threadIdx.x + blockDim.x * (threadIdx.y + (size_t)blockDim.y * threadIdx.z);
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

// The tile that is being asked for; not one that is looked at again.
const Tile *asking;

float from_bits(uint32_t bits) {
	uint32_t word = bits << 16;
	float x;
	memcpy(&x, &word, sizeof x);
	return x;
}

// The 8 elements from (i, k) on, which lie together whatever the layout: along k in order 0, else along i. Address and
// values go into the digest.
void read_pack(const Matrix &m, int i, int k, uint16_t bits[PACK], uint64_t &digest) {
	size_t at = element_address(m, i, k);
	uint64_t words[2];
	if (at + sizeof words > d2v_emulate_shared_size())
		fail("a matrix reaches beyond the shared memory of the block");
	if (!d2v_emulate_shared_is_fenced(d2v_emulate_shared() + at, sizeof words))
		fail("products read what was written without shared_fence()");
	if (asking)
		d2v_races_multiply(d2v_emulate_shared() + at, sizeof words, asking->number);
	memcpy(words, d2v_emulate_shared() + at, sizeof words);
	memcpy(bits, words, sizeof words);
	digest = mix(mix(mix(digest, at), words[0]), words[1]);
}

// to[k][i], for i from `first` to first + count, multiples of 8.
template <int COLUMNS>
void read_matrix(const Matrix &m, int first, int count, float to[K][COLUMNS], uint64_t &digest) {
	uint16_t bits[PACK];
	if (m.order == 0) {
		for (int i = 0; i < count; i++)
			for (int k = 0; k < K; k += PACK) {
				read_pack(m, first + i, k, bits, digest);
				for (int e = 0; e < PACK; e++)
					to[k + e][i] = from_bits(bits[e]);
			}
	} else {
		for (int k = 0; k < K; k++)
			for (int i = 0; i < count; i += PACK) {
				read_pack(m, first + i, k, bits, digest);
				for (int e = 0; e < PACK; e++)
					to[k][i + e] = from_bits(bits[e]);
			}
	}
}

// What a warp multiplies.
struct Operands {
	float a[K][ROWS], b[K][MOST_COLUMNS];

	// lanes: their fragments of a, where it is not in shared memory. The digest of what is.
	uint64_t read(const Tile &tile, const uint32_t (*lanes)[8]) {
		uint64_t digest = 0;
		if (tile.a_is_shared)
			read_matrix<ROWS>(tile.a, (int)threadIdx.x % GROUP / WARP * ROWS, ROWS, a, digest);
		for (int k = 0; k < K && lanes; k++)
			for (int i = 0; i < ROWS; i++)
				a[k][i] = from_bits(lanes[4 * (i % 8) + k % 8 / 2][k / 8 * 2 + i / 8] >> (k % 2 * 16) & 0xffff);
		read_matrix<MOST_COLUMNS>(tile.b, 0, tile.columns, b, digest);
		return digest;
	}

	// In the order of k.
	void multiply(int columns, float sums[ROWS][MOST_COLUMNS]) const {
		for (int i = 0; i < ROWS; i++) {
			for (int j = 0; j < columns; j++)
				sums[i][j] = 0;
			for (int k = 0; k < K; k++)
				for (int j = 0; j < columns; j++)
					sums[i][j] += a[k][i] * b[k][j];
		}
	}
};

// No fiber gives way while it uses them.
Operands operands;

void begin_tile(Warp &warp, Tile tile, const uint32_t (*lanes)[8]) {
	tile.number = warp.asked;
	asking = &tile;
	tile.digest = operands.read(tile, lanes);
	asking = nullptr;
	operands.multiply(tile.columns, warp.sums);
	warp.under_way.push_back(tile);
	warp.asked++;
}

// A lane has waited for its product number `number`.
void end_tile(Warp &warp, size_t number) {
	Tile &tile = warp.under_way[number - (warp.asked - warp.under_way.size())];
	if (++tile.waited < WARP)
		return;
	if (operands.read(tile, nullptr) != tile.digest)
		fail("shared memory was written to while products read it");
	warp.under_way.pop_front();
}

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
	Thread &thread = threads[self()];
	Warp &warp = warps[self() / WARP];
	Product p;
	p.d = d, p.count = columns / 2;
	if (!thread.fenced)
		fail("products without products_fence() since the last wait");
	const uint32_t none[4] = { 0, 0, 0, 0 };
	const uint32_t(*lanes)[8] = d2v_emulate_exchange(a_words ? a_words : none, 4);
	if (thread.asked++ == warp.asked)
		begin_tile(warp, Tile{ { a, a_order }, { b, b_order }, columns, !a_words, 0, 0, 0 }, a_words ? lanes : nullptr);
	const float *before = newest_sums(thread, d);
	int g = (int)threadIdx.x % WARP / 4, t = (int)threadIdx.x % 4;
	for (int i = 0; i < p.count; i++) { // block of 8 columns, upper or lower row, first or second column
		float sum = warp.sums[g + i % 4 / 2 * 8][i / 4 * 8 + 2 * t + i % 2];
		p.sums[i] = add ? before[i] + sum : sum;
	}
	memset(d, 0xff, (size_t)p.count * sizeof *d);
	thread.history =
		mix(mix(mix(thread.history, a_words ? 1 : a), b), (uint64_t)(columns * 8 + a_order * 4 + b_order * 2 + add));
	thread.groups.back().push_back(p);
}

void d2v_emulate_products_fence(void) {
	threads[self()].fenced = true;
}

void d2v_emulate_products_commit(void) {
	threads[self()].groups.push_back({});
}

void d2v_emulate_products_wait(size_t pending) {
	Thread &thread = threads[self()];
	while (thread.groups.size() > pending + 1) {
		std::vector<Product> ended = std::move(thread.groups.front());
		thread.groups.erase(thread.groups.begin());
		for (const Product &p : ended) {
			end_tile(warps[self() / WARP], thread.waited++);
			if (newest_sums(thread, p.d) == p.d)
				memcpy(p.d, p.sums, (size_t)p.count * sizeof *p.d);
		}
	}
	d2v_races_multiplied(thread.waited);
	thread.fenced = false;
}

void d2v_emulate_shared_store(const void *to, size_t bytes) {
	const unsigned char *at = (const unsigned char *)to, *first = d2v_emulate_shared();
	if (at < first || at >= first + d2v_emulate_shared_size())
		return;
	Range range = { (size_t)(at - first) / 4, ((size_t)(at - first) + bytes + 3) / 4 };
	threads[self()].unfenced.push_back(range);
	for (size_t word = range.first; word < range.end; word++)
		unfenced_words[word]++;
}

void d2v_emulate_shared_fence(void) {
	d2v_races_proxy_fence();
	for (const Range &range : threads[self()].unfenced)
		for (size_t word = range.first; word < range.end; word++)
			unfenced_words[word]--;
	threads[self()].unfenced.clear();
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
		thread.asked = thread.waited = 0;
		thread.history = 0;
	}
	warps.resize((threads.size() + WARP - 1) / WARP);
	for (Warp &warp : warps) {
		warp.under_way.clear();
		warp.asked = 0;
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
