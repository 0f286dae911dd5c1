// Vector clocks: every thread of a block has a time of its own, and knows up to which time of each other one what it
// did is before what it does itself. Who meets at a barrier knows what all knew. An access is remembered with its time
// in the cell of its two bytes, and whoever comes after must know of it. That is the happens-before order of the PTX
// ISA's memory model as far as kernels use it (Flanagan and Freund, FastTrack, PLDI 2009, is the method;
// compute-sanitizer's racecheck the aim), with what is asynchronous as actors of their own:
//
// - the copy engine, an actor for each barrier in shared memory: its writes are known to who has passed the barrier;
// - the tensor cores and the engine's way back, an actor each for a warp: they read until the warp has waited.
//
// Both see of ordinary writes only those that were fenced for their proxy, so a second vector says what is known and
// fenced. Lanes of a warp are in an order by __syncwarp() alone, blocks by fences and atomics alone. What is not seen:
// single bytes that two threads write side by side would be taken for a race, and where many read the same the cell
// forgets some.
#include <cuda_runtime.h>
#include <emulated_races.h>
#include <emulated_wgmma.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <unordered_map>
#include <utility>
#include <vector>

#define WARP 32
#define MOST_BARRIERS 64 // of a block
#define CELL 2           // bytes
#define REPORTS 20       // that are printed

namespace {

typedef uint32_t Time;
typedef std::vector<Time> Times;                // of all actors
typedef std::shared_ptr<const Times> Knowledge; // what many share

// Up to when all is known, and of that what has been fenced for the asynchronous proxy.
struct View {
	Knowledge known, fenced;
};

struct Snapshot {
	unsigned block;
	Knowledge known;
};
typedef std::shared_ptr<std::vector<Snapshot>> Blocks; // of earlier blocks of the grid: up to when they are known

struct Thread {
	View view; // of others
	Time now = 1, fenced = 0, multiplied = 0, stored = 0;
	Knowledge published;  // at its last fence of the device
	Blocks seen, pending; // pending: until such a fence
};

struct Barrier {
	const uint64_t *at;
	View arrived, passed; // in this phase; in the one that opened last
	Time phase = 0;
	Times arrived_known, arrived_fenced;
};

// What one actor, or lanes of one warp at the same time, read last.
struct Reads {
	uint32_t lanes;
	uint16_t actor; // of lanes: the first lane of their warp
	Time time;
	const void *code;
};

struct Write {
	unsigned block; // of all that ever ran, from 1 on; 0: none
	uint16_t actor;
	bool generic; // an ordinary one
	Time time;
	const void *code;
};

template <int READS> struct Cell {
	unsigned block; // whose reads these are; of an earlier launch: nothing counts
	Write write;
	Reads reads[READS];
};
typedef Cell<24> SharedCell;
typedef Cell<3> DeviceCell;

bool on;
std::vector<Thread> threads;
std::vector<Barrier> barriers;
size_t count, running;
unsigned block, first_block; // serial numbers; of the launch
std::map<const void *, Blocks> atomics;

std::vector<SharedCell> shared_cells;
std::map<uintptr_t, SharedCell> static_cells; // of __shared__ variables
DeviceCell *device_cells;
std::unordered_map<uintptr_t, DeviceCell> pinned_cells; // of the host's memory

std::set<std::pair<const void *, const void *>> reported;
size_t races;

extern "C" char __executable_start, __data_start, _end;

size_t actors() {
	return count + MOST_BARRIERS + 2 * ((count + WARP - 1) / WARP);
}
size_t barrier_actor(size_t barrier) {
	return count + barrier;
}
size_t tensor_actor(size_t thread) {
	return count + MOST_BARRIERS + 2 * (thread / WARP);
}
size_t store_actor(size_t thread) {
	return tensor_actor(thread) + 1;
}

const char *name_of(size_t actor, char (&text)[64]) {
	if (actor < count)
		snprintf(text, sizeof text, "thread %zu", actor);
	else if (actor < count + MOST_BARRIERS)
		snprintf(text, sizeof text, "the copy engine, for barrier %zu,", actor - count);
	else
		snprintf(text, sizeof text, "%s of warp %zu", (actor - count) % 2 ? "a copy back" : "products",
			(actor - count - MOST_BARRIERS) / 2);
	return text;
}

// code: where the access is in the program, for addr2line; NULL: in the emulation.
void report(const void *at, const char *what, size_t actor, const void *code, const char *before, size_t other,
	const void *other_code, const char *remedy) {
	races++;
	if (!reported.insert({ code, other_code }).second || reported.size() > REPORTS)
		return;
	char one[64], two[64], place[64];
	uintptr_t address = (uintptr_t)at, first = (uintptr_t)d2v_emulate_shared();
	if (address - first < d2v_emulate_shared_size())
		snprintf(place, sizeof place, "shared memory + %#zx", (size_t)(address - first));
	else
		snprintf(place, sizeof place, "%p", at);
	fprintf(stderr, "emulation: race: block %u: %s %s %s, which %s %s, %s; code %#zx, %#zx\n", blockIdx.x,
		name_of(actor, one), what, place, name_of(other, two), before, remedy,
		code ? (size_t)((const char *)code - &__executable_start) : 0,
		other_code ? (size_t)((const char *)other_code - &__executable_start) : 0);
}

// Whether a thread knows what an actor of its block did at that time.
bool knows(size_t thread, size_t actor, Time time) {
	const Thread &self = threads[thread];
	return actor == thread || (*self.view.known)[actor] >= time ||
		   (actor == tensor_actor(thread) && self.multiplied >= time) ||
		   (actor == store_actor(thread) && self.stored >= time);
}
bool knows_fenced(size_t thread, size_t actor, Time time) {
	return actor == thread ? threads[thread].fenced >= time : (*threads[thread].view.fenced)[actor] >= time;
}
// Of another block of the grid.
bool knows_of_block(size_t thread, unsigned other, size_t actor, Time time) {
	if (threads[thread].seen)
		for (const Snapshot &snapshot : *threads[thread].seen)
			if (snapshot.block == other && (*snapshot.known)[actor] >= time)
				return true;
	return false;
}

void learn(Times &times, const Times &others) {
	for (size_t i = 0; i < times.size(); i++)
		times[i] = std::max(times[i], others[i]);
}

// What a thread knows, itself included.
void add_view(size_t thread, Times &known, Times &fenced) {
	const Thread &self = threads[thread];
	learn(known, *self.view.known), learn(fenced, *self.view.fenced);
	known[thread] = self.now, fenced[thread] = std::max(fenced[thread], self.fenced);
	known[tensor_actor(thread)] = std::max(known[tensor_actor(thread)], self.multiplied);
	known[store_actor(thread)] = std::max(known[store_actor(thread)], self.stored);
}

// Whoever is `actor` for reads and writes of others; asynchronous: it sees of ordinary writes what was fenced.
struct Access {
	size_t actor;
	Time time;
	bool write, asynchronous;
	const void *code;
};

// Lanes of a warp by one instruction: one of them writes, and it does not matter which if all mean the same.
bool write_together(const Write &last, const Access &access) {
	return access.write && last.code == access.code && last.time == access.time && access.actor < count &&
		   last.actor < count && last.actor / WARP == access.actor / WARP;
}

void check_last_write(const Write &last, const void *at, const Access &access) {
	bool same = last.block == block, ordered;
	if (same && access.asynchronous && last.generic && !access.write)
		ordered = knows_fenced(running, last.actor, last.time);
	else if (same)
		ordered = write_together(last, access) || knows(running, last.actor, last.time);
	else
		ordered = knows_of_block(running, last.block, last.actor, last.time);
	if (!ordered)
		report(at, access.write ? "writes to" : "reads", access.actor, access.code, "wrote", last.actor, last.code,
			!same                 ? "in another block of the grid"
			: access.asynchronous ? "without a fence of the proxy and a barrier between"
								  : "with no barrier between");
}

// Before a write.
template <int READS> void check_reads(const Cell<READS> &cell, const void *at, const Access &access) {
	bool same = cell.block == block;
	for (const Reads &reads : cell.reads)
		for (uint32_t lanes = reads.lanes; lanes; lanes &= lanes - 1) {
			size_t reader = reads.actor + (size_t)__builtin_ctz(lanes);
			if (!(same ? knows(running, reader, reads.time) : knows_of_block(running, cell.block, reader, reads.time)))
				report(at, "writes to", access.actor, access.code, "read", reader, reads.code,
					same ? "with no barrier between" : "in another block of the grid");
		}
}

template <int READS> void remember_read(Cell<READS> &cell, const Access &access) {
	bool lane = access.actor < count;
	size_t actor = lane ? access.actor / WARP * WARP : access.actor;
	uint32_t bit = lane ? 1u << access.actor % WARP : 1;
	Reads *place = nullptr;
	for (Reads &reads : cell.reads) {
		if (reads.lanes && reads.actor == actor && reads.time == access.time) {
			reads.lanes |= bit;
			return;
		}
		if (!place && (!reads.lanes || (reads.actor == actor && reads.lanes == bit)))
			place = &reads;
	}
	for (Reads &reads : cell.reads) // none free: one that whoever knows of this read knows of too
		if (!place && !(reads.lanes & (reads.lanes - 1)) &&
			knows(running, reads.actor + (size_t)__builtin_ctz(reads.lanes), reads.time))
			place = &reads;
	if (!place)
		place = &cell.reads[access.time % READS];
	*place = Reads{ bit, (uint16_t)actor, access.time, access.code };
}

// own: memory of the block, where nothing is left of others.
template <int READS> void touch(Cell<READS> &cell, bool own, const void *at, const Access &access) {
	unsigned first = own ? block : first_block;
	if (cell.write.block >= first)
		check_last_write(cell.write, at, access);
	if (access.write && cell.block >= first)
		check_reads(cell, at, access);
	if (access.write || cell.block != block)
		memset(cell.reads, 0, sizeof cell.reads);
	cell.block = block;
	if (access.write)
		cell.write = Write{ block, (uint16_t)access.actor, !access.asynchronous, access.time, access.code };
	else
		remember_read(cell, access);
}

void touch_all(const void *at, size_t bytes, const Access &access) {
	uintptr_t first = (uintptr_t)at, shared = (uintptr_t)d2v_emulate_shared();
	if (first - shared < d2v_emulate_shared_size()) {
		for (uintptr_t byte = first / CELL * CELL; byte < first + bytes; byte += CELL) {
			size_t cell = (byte - shared) / CELL;
			if (cell >= shared_cells.size())
				shared_cells.resize(cell + 1);
			touch(shared_cells[cell], true, (void *)byte, access);
		}
	} else if (first - (uintptr_t)&__data_start < (uintptr_t)(&_end - &__data_start)) {
		for (uintptr_t byte = first / CELL * CELL; byte < first + bytes; byte += CELL)
			touch(static_cells[byte], true, (void *)byte, access);
	} else if (first - (uintptr_t)d2v_emulate_arena() < D2V_EMULATED_ARENA_BYTES) {
		for (uintptr_t byte = first / CELL * CELL; byte < first + bytes; byte += CELL)
			touch(device_cells[(byte - (uintptr_t)d2v_emulate_arena()) / CELL], false, (void *)byte, access);
	} else if (d2v_emulate_is_pinned(at)) {
		for (uintptr_t byte = first / CELL * CELL; byte < first + bytes; byte += CELL)
			touch(pinned_cells[byte], false, (void *)byte, access);
	}
}

Barrier &barrier_of(const uint64_t *at) {
	for (Barrier &barrier : barriers)
		if (barrier.at == at)
			return barrier;
	fprintf(stderr, "emulation: block %u, thread %zu: a barrier that nobody made\n", blockIdx.x, running);
	abort();
}

void forget_arrivals(Barrier &barrier) {
	barrier.arrived_known.assign(actors(), 0);
	barrier.arrived_fenced.assign(actors(), 0);
}

// A program in which nobody has asked for them does not end well.
struct Summary {
	~Summary() {
		size_t places = reported.size();
		if (size_t found = d2v_races_found()) {
			fprintf(stderr, "emulation: %zu races, at %zu pairs of places\n", found, places);
			_exit(1);
		}
	}
} summary;

} // namespace

size_t d2v_races_found(void) {
	reported.clear();
	return std::exchange(races, (size_t)0);
}

void d2v_races_begin(size_t threads_of_block, bool launch) {
	if (!on)
		return;
	if (!device_cells) {
		void *cells = mmap(nullptr, D2V_EMULATED_ARENA_BYTES / CELL * sizeof *device_cells, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (cells == MAP_FAILED) {
			fprintf(stderr, "emulation: no memory for what is known of device memory\n");
			abort();
		}
		device_cells = (DeviceCell *)cells;
	}
	block++;
	if (launch) {
		first_block = block;
		atomics.clear();
	}
	count = threads_of_block;
	barriers.clear();
	Knowledge nothing = std::make_shared<const Times>(actors(), 0);
	threads.assign(count, Thread());
	for (Thread &thread : threads)
		thread.view = View{ nothing, nothing };
}

void d2v_races_end(void) {
	count = 0; // what the host does is no access of a thread
}

void d2v_races_run(size_t thread) {
	running = thread;
}

void d2v_races_meet(const size_t *met, size_t number) {
	if (!on || !count)
		return;
	Times known(actors(), 0), fenced(actors(), 0);
	Knowledge last, last_fenced;
	Blocks seen;
	for (size_t i = 0; i < number; i++) {
		Thread &thread = threads[met[i]];
		if (thread.view.known != last || thread.view.fenced != last_fenced) { // many share one
			last = thread.view.known, last_fenced = thread.view.fenced;
			learn(known, *last), learn(fenced, *last_fenced);
		}
		if (thread.seen && (!seen || thread.seen->size() > seen->size()))
			seen = thread.seen;
	}
	for (size_t i = 0; i < number; i++) {
		Thread &thread = threads[met[i]];
		known[met[i]] = thread.now++, fenced[met[i]] = std::max(fenced[met[i]], thread.fenced);
		known[tensor_actor(met[i])] = std::max(known[tensor_actor(met[i])], thread.multiplied);
		known[store_actor(met[i])] = std::max(known[store_actor(met[i])], thread.stored);
	}
	View view = { std::make_shared<const Times>(std::move(known)), std::make_shared<const Times>(std::move(fenced)) };
	for (size_t i = 0; i < number; i++) {
		threads[met[i]].view = view;
		threads[met[i]].seen = seen;
	}
}

void d2v_races_look(void) {
	on = true;
}

void d2v_races_access(const void *at, size_t bytes, bool write, const void *code) {
	if (on && count)
		touch_all(at, bytes, Access{ running, threads[running].now, write, false, code });
}
void d2v_races_read(const void *from, size_t bytes) {
	d2v_races_access(from, bytes, false, nullptr);
}
void d2v_races_write(void *to, size_t bytes) {
	d2v_races_access(to, bytes, true, nullptr);
}

void d2v_races_proxy_fence(void) {
	if (!on || !count)
		return;
	Thread &self = threads[running];
	self.view.fenced = self.view.known;
	self.fenced = self.now++;
}

void d2v_races_device_fence(void) {
	if (!on || !count)
		return;
	Thread &self = threads[running];
	Times known(actors(), 0), fenced(actors(), 0);
	add_view(running, known, fenced);
	self.now++;
	self.published = std::make_shared<const Times>(std::move(known));
	if (self.pending)
		self.seen = self.pending;
}

void d2v_races_atomic(const void *at) {
	if (!on || !count)
		return;
	Thread &self = threads[running];
	Blocks before = atomics[at];
	Blocks now = before ? std::make_shared<std::vector<Snapshot>>(*before) : std::make_shared<std::vector<Snapshot>>();
	self.pending = before;
	if (self.published)
		now->push_back(Snapshot{ block, self.published });
	atomics[at] = now;
}

void d2v_races_barrier_made(const uint64_t *at) {
	if (!on || !count)
		return;
	touch_all(at, sizeof *at, Access{ running, threads[running].now, true, false, __builtin_return_address(0) });
	for (size_t i = 0; i < barriers.size(); i++)
		if (barriers[i].at == at) {
			fprintf(stderr, "emulation: block %u: a barrier that is made twice\n", blockIdx.x);
			abort();
		}
	if (barriers.size() == MOST_BARRIERS) {
		fprintf(stderr, "emulation: more than %d barriers\n", MOST_BARRIERS);
		abort();
	}
	Barrier barrier;
	barrier.at = at;
	forget_arrivals(barrier);
	barriers.push_back(barrier);
}

void d2v_races_barrier_arrive(const uint64_t *at) {
	if (!on || !count)
		return;
	Barrier &barrier = barrier_of(at);
	touch_all(at, sizeof *at, Access{ running, threads[running].now, false, false, nullptr });
	add_view(running, barrier.arrived_known, barrier.arrived_fenced);
	threads[running].now++;
}

void d2v_races_barrier_open(const uint64_t *at) {
	if (!on || !count)
		return;
	Barrier &barrier = barrier_of(at);
	barrier.phase++;
	barrier.arrived_known[barrier_actor((size_t)(&barrier - barriers.data()))] = barrier.phase;
	barrier.passed = View{ std::make_shared<const Times>(barrier.arrived_known),
		std::make_shared<const Times>(barrier.arrived_fenced) };
	forget_arrivals(barrier);
}

void d2v_races_barrier_pass(const uint64_t *at) {
	if (!on || !count)
		return;
	Barrier &barrier = barrier_of(at);
	touch_all(at, sizeof *at, Access{ running, threads[running].now, false, false, nullptr });
	if (!barrier.passed.known)
		return;                        // of a new one the phase before the first is over
	static View before, passed, after; // lanes of a warp know the same and pass the same
	View &view = threads[running].view;
	if (view.known != before.known || view.fenced != before.fenced || barrier.passed.known != passed.known) {
		Times known = *view.known, fenced = *view.fenced;
		learn(known, *barrier.passed.known), learn(fenced, *barrier.passed.fenced);
		before = view, passed = barrier.passed;
		after =
			View{ std::make_shared<const Times>(std::move(known)), std::make_shared<const Times>(std::move(fenced)) };
	}
	view = after;
}

void d2v_races_fetch(void *to, size_t bytes, const uint64_t *at) {
	if (!on || !count)
		return;
	Barrier &barrier = barrier_of(at);
	touch_all(at, sizeof *at,
		Access{ barrier_actor((size_t)(&barrier - barriers.data())), barrier.phase + 1, false, true, nullptr });
	touch_all(to, bytes,
		Access{ barrier_actor((size_t)(&barrier - barriers.data())), barrier.phase + 1, true, true, nullptr });
}

void d2v_races_store(const void *from, size_t bytes, size_t group) {
	if (!on || !count)
		return;
	touch_all(from, bytes, Access{ store_actor(running), (Time)group + 1, false, true, nullptr });
}
void d2v_races_stored(size_t end) {
	if (!on || !count)
		return;
	threads[running].stored = (Time)end;
}

void d2v_races_multiply(const void *from, size_t bytes, size_t number) {
	if (!on || !count)
		return;
	touch_all(from, bytes, Access{ tensor_actor(running), (Time)number + 1, false, true, nullptr });
}
void d2v_races_multiplied(size_t end) {
	if (!on || !count)
		return;
	threads[running].multiplied = std::max(threads[running].multiplied, (Time)end);
}
