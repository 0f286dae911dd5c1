// Copies of boxes and barriers in shared memory (kernels/cuda/bulk_copy.cuh) as the PTX ISA has them. A copy lands when
// nobody can do anything without it, and until then its place holds NaN: so a missing wait fails, and so do products
// that still read what is copied over. On the way back a box is read when its thread waits for that: what was written to
// it meanwhile fails, as does what was written before it without a fence.
#include <cuda_runtime.h>
#include <emulated_bulk_copy.h>
#include <emulated_races.h>
#include <emulated_wgmma.h>

#include <deque>
#include <stdio.h>
#include <stdlib.h>
#include <vector>

namespace {

// What a barrier's eight bytes hold.
struct Barrier {
	uint8_t count, pending; // arrivals of a phase, and those that are missing
	uint8_t phase;          // how often it has opened, modulo 2
	uint8_t made;           // MADE
	int32_t bytes;          // announced and not yet there
};
static_assert(sizeof(Barrier) == sizeof(uint64_t), "");
constexpr uint8_t MADE = 0xb7;

struct Box {
	uint16_t *to;
	d2v_emulated_map map;
	int column, row, which;
	uint64_t *barrier;
};
std::deque<Box> under_way;

struct Store {
	const uint16_t *from;
	d2v_emulated_map map;
	int column, row, which;
	uint64_t digest; // of what is to be stored
};
// Of each thread of a block: groups that nobody has waited for, the last one open, and how many came before.
struct Stores {
	std::vector<std::vector<Store>> groups = std::vector<std::vector<Store>>(1);
	size_t ended = 0;
};
std::vector<Stores> stores;

[[noreturn]] void fail(const char *what) {
	fprintf(stderr, "emulation: block %u, thread %u: %s\n", blockIdx.x, threadIdx.x, what);
	abort();
}

Barrier read(const uint64_t *at) {
	Barrier barrier;
	memcpy(&barrier, at, sizeof barrier);
	if (barrier.made != MADE)
		fail("a barrier that nobody made");
	return barrier;
}

// Opens it if nothing is missing any more.
void write(uint64_t *at, Barrier barrier) {
	if (barrier.pending == 0 && barrier.bytes == 0) {
		barrier.pending = barrier.count;
		barrier.phase ^= 1;
		d2v_races_barrier_open(at);
	}
	memcpy(at, &barrier, sizeof barrier);
}

size_t bytes_of(const d2v_emulated_map &map) {
	return (size_t)map.box_rows * 64 * sizeof(uint16_t);
}

void check_box(const d2v_emulated_map &map, const void *shared) {
	unsigned address = d2v_emulate_shared_address(shared);
	if (address % 1024 || address + bytes_of(map) > d2v_emulate_shared_size())
		fail("a box that is not aligned, or reaches beyond the shared memory of the block");
	if (map.columns % 8 || (uintptr_t)map.matrix % 16 || map.box_rows > 256)
		fail("a matrix that the copy engine does not take");
}

// Where element (i, j) of a box is: its index among the matrices' elements, -1 if it lies outside; its index in shared memory.
int64_t place_of(const d2v_emulated_map &map, int column, int row, int which, int i, int j) {
	int64_t r = (int64_t)row + i, c = (int64_t)column + j;
	bool inside = which < map.count && r >= 0 && r < map.rows && c >= 0 && c < map.columns;
	return inside ? (which * map.rows + r) * map.columns + c : -1;
}
int swizzled(int i, int j) {
	return i * 64 + ((j / 8) ^ i % 8) * 8 + j % 8;
}

Stores &own_stores() {
	size_t thread = threadIdx.x + blockDim.x * (threadIdx.y + (size_t)blockDim.y * threadIdx.z);
	if (stores.size() <= thread)
		stores.resize(thread + 1);
	return stores[thread];
}

uint64_t digest_of(const Store &store) {
	uint64_t digest = 0;
	for (size_t i = 0; i < bytes_of(store.map) / sizeof *store.from; i++)
		digest = (digest ^ store.from[i]) * 0x100000001b3u + (digest >> 47);
	return digest;
}

} // namespace

void d2v_emulate_barrier_init(uint64_t *at, unsigned count) {
	Barrier barrier = { (uint8_t)count, (uint8_t)count, 0, MADE, 0 };
	memcpy(at, &barrier, sizeof barrier);
	d2v_races_barrier_made(at);
}

void d2v_emulate_barrier_arrive(uint64_t *at, unsigned bytes) {
	Barrier barrier = read(at);
	d2v_races_barrier_arrive(at);
	if (barrier.pending == 0)
		fail("more arrivals at a barrier than it counts");
	barrier.bytes += (int32_t)bytes;
	barrier.pending--;
	write(at, barrier);
}

bool d2v_emulate_barrier_is_open(const uint64_t *at, unsigned parity) {
	return read(at).phase != parity;
}

void d2v_emulate_fetch_box(void *to, const d2v_emulated_map *map, int column, int row, int which, uint64_t *barrier) {
	check_box(*map, to);
	for (int i = 0; i < map->box_rows; i++)
		for (int j = 0; j < 64; j++)
			if (int64_t at = place_of(*map, column, row, which, i, j); at >= 0)
				d2v_races_read((const uint16_t *)map->matrix + at, sizeof(uint16_t));
	d2v_races_fetch(to, bytes_of(*map), barrier);
	memset(to, 0xff, bytes_of(*map));
	under_way.push_back(Box{ (uint16_t *)to, *map, column, row, which, barrier });
}

bool d2v_emulate_land_box(void) {
	if (under_way.empty())
		return false;
	Box box = under_way.front();
	under_way.pop_front();
	for (int i = 0; i < box.map.box_rows; i++)
		for (int j = 0; j < 64; j++) {
			int64_t at = place_of(box.map, box.column, box.row, box.which, i, j);
			box.to[swizzled(i, j)] = at < 0 ? (uint16_t)0 : ((const uint16_t *)box.map.matrix)[at];
		}
	Barrier barrier = read(box.barrier);
	barrier.bytes -= (int32_t)bytes_of(box.map);
	write(box.barrier, barrier);
	return true;
}

void d2v_emulate_store_box(const d2v_emulated_map *map, int column, int row, int which, const void *from) {
	check_box(*map, from);
	if (!d2v_emulate_shared_is_fenced(from, bytes_of(*map)))
		fail("a copy reads what was written without shared_fence()");
	Store store = { (const uint16_t *)from, *map, column, row, which, 0 };
	store.digest = digest_of(store);
	Stores &own = own_stores();
	d2v_races_store(from, bytes_of(*map), own.ended + own.groups.size() - 1);
	own.groups.back().push_back(store);
}

void d2v_emulate_stores_commit(void) {
	own_stores().groups.push_back({});
}

void d2v_emulate_stores_wait(size_t pending) {
	std::vector<std::vector<Store>> &groups = own_stores().groups;
	for (; groups.size() > pending + 1; groups.erase(groups.begin()), own_stores().ended++)
		for (const Store &store : groups.front()) {
			if (digest_of(store) != store.digest)
				fail("shared memory was written to while a copy read it");
			for (int i = 0; i < store.map.box_rows; i++)
				for (int j = 0; j < 64; j++) {
					int64_t at = place_of(store.map, store.column, store.row, store.which, i, j);
					if (at < 0)
						continue;
					uint16_t *to = (uint16_t *)const_cast<void *>(store.map.matrix) + at;
					d2v_races_write(to, sizeof *to);
					*to = store.from[swizzled(i, j)];
				}
		}
	d2v_races_stored(own_stores().ended);
}

void d2v_emulate_boxes_begin(void) {
	under_way.clear();
	stores.clear();
}

void d2v_emulate_boxes_end(void) {
	if (!under_way.empty())
		fail("the block ended with copies under way");
	for (const Stores &of_thread : stores)
		if (of_thread.groups.size() > 1 || !of_thread.groups[0].empty())
			fail("the block ended with stores under way");
}
