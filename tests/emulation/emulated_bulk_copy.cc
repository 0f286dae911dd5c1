// Copies of boxes and barriers in shared memory (kernels/cuda/bulk_copy.cuh) as the PTX ISA has them. A copy lands when
// nobody can do anything without it, and until then its place holds NaN: so a missing wait fails, and so do products
// that still read what is copied over.
#include <cuda_runtime.h>
#include <emulated_bulk_copy.h>
#include <emulated_wgmma.h>

#include <deque>
#include <stdio.h>
#include <stdlib.h>

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
	}
	memcpy(at, &barrier, sizeof barrier);
}

size_t bytes_of(const d2v_emulated_map &map) {
	return (size_t)map.box_rows * 64 * sizeof(uint16_t);
}

} // namespace

void d2v_emulate_barrier_init(uint64_t *at, unsigned count) {
	Barrier barrier = { (uint8_t)count, (uint8_t)count, 0, MADE, 0 };
	memcpy(at, &barrier, sizeof barrier);
}

void d2v_emulate_barrier_arrive(uint64_t *at, unsigned bytes) {
	Barrier barrier = read(at);
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
	unsigned address = d2v_emulate_shared_address(to);
	if (address % 1024 || address + bytes_of(*map) > d2v_emulate_shared_size())
		fail("a box that is not aligned, or reaches beyond the shared memory of the block");
	if (map->columns % 8 || (uintptr_t)map->matrix % 16 || map->box_rows > 256)
		fail("a matrix that the copy engine does not take");
	memset(to, 0xff, bytes_of(*map));
	under_way.push_back(Box{ (uint16_t *)to, *map, column, row, which, barrier });
}

bool d2v_emulate_land_box(void) {
	if (under_way.empty())
		return false;
	Box box = under_way.front();
	under_way.pop_front();
	const uint16_t *from = (const uint16_t *)box.map.matrix + box.which * box.map.rows * box.map.columns;
	for (int i = 0; i < box.map.box_rows; i++)
		for (int j = 0; j < 64; j++) {
			int64_t row = (int64_t)box.row + i, column = (int64_t)box.column + j;
			bool inside = box.which < box.map.count && row >= 0 && row < box.map.rows && column >= 0 && column < box.map.columns;
			box.to[i * 64 + ((j / 8) ^ i % 8) * 8 + j % 8] =
				inside ? from[row * box.map.columns + column] : (uint16_t)0;
		}
	Barrier barrier = read(box.barrier);
	barrier.bytes -= (int32_t)bytes_of(box.map);
	write(box.barrier, barrier);
	return true;
}

void d2v_emulate_boxes_begin(void) {
	under_way.clear();
}

void d2v_emulate_boxes_end(void) {
	if (!under_way.empty())
		fail("the block ended with copies under way");
}
