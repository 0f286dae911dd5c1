// How grouped convolutions on Hopper's warpgroups (wgmma.cuh) keep what they read in shared memory.
//
// A tile is a few pictures, some rows of one, or a stretch of its only row. It lies there as a tape, numbered through: place
// after place and row after row, every row followed by the zeros that taps find beyond its end, which are also those before
// the next row's beginning, and every picture by rows of them. Results are numbered like the places they begin at, so
// tap (u, v) of result p reads place p + u row_width + v whatever p is, and 64 results that follow each other read 64 places
// that do. What comes out where the zeros are is not stored.
//
// A place's channels of a group are packs of 8, 16 bytes; the packs c of all places follow each other, and then come the
// packs c + 1: a loose matrix for wgmma, eight places of which are its smallest part. A tap is an offset of it.
#ifndef D2V_KERNELS_CUDA_CONV_TAPE_CUH
#define D2V_KERNELS_CUDA_CONV_TAPE_CUH

#include "kernels/cuda/bulk_copy.cuh"
#include "kernels/cuda/card.cuh"
#include "kernels/cuda/conv.cuh"
#include "kernels/cuda/copy_async.cuh"

#define GROUP_THREADS 128 // of a warpgroup
#define MOST_GROUPS 4     // of a block
#define SHARED_MOST ((size_t)226 << 10)
#define NOWHERE INT32_MIN // a place that holds a zero, a result that is not stored

typedef struct conv_tape {
	conv_shape shape; // of the pass: sources (rows, in_h, in_w, in), results (rows, out_h, out_w, out)
	int channels;     // of a group, in and out
	int row_width, picture_rows;   // places of a row, rows of a picture; zeros included
	int pictures, tile_h, tile_w;  // of a tile: pictures, and how much of each
	int tiles_y, tiles_x, tiles;   // of a picture, and in all
	int results, places;           // of a tile; results in units, places in eights
	int result_pitch, place_pitch; // of a tape: from a pack to the next, in packs
} conv_tape;

static __host__ __device__ inline bool has_whole_pictures(const conv_tape &s) {
	return s.tile_h == s.shape.out_h && s.tile_w == s.shape.out_w;
}

// How far result p's place for a tap lies behind place p.
static __device__ __forceinline__ int shift_of(const conv_tape &s, int tap) {
	return tap / s.shape.kernel_w * s.row_width + tap % s.shape.kernel_w;
}

// ---- where places and results are in memory

// A tile's part of an array (rows, h, w): its first picture, at which position of it the tile begins, and how many positions
// there are from that picture on.
typedef struct tape_part {
	int64_t first;
	int start;
	unsigned count;
} tape_part;
static __device__ __forceinline__ tape_part find_part(const conv_tape &s, int64_t h, int64_t w, int tile) {
	int across = s.tiles_x * s.tiles_y, rest = tile % across;
	int64_t picture = (int64_t)(tile / across) * s.pictures;
	tape_part part;
	part.first = picture * h * w;
	part.start = rest / s.tiles_x * s.tile_h * (int)w + rest % s.tiles_x * s.tile_w;
	part.count = (unsigned)(min((int64_t)s.pictures, s.shape.rows - picture) * h * w);
	return part;
}
static __device__ __forceinline__ tape_part find_sources(const conv_tape &s, int tile) {
	return find_part(s, s.shape.in_h, s.shape.in_w, tile);
}
static __device__ __forceinline__ tape_part find_results(const conv_tape &s, int tile) {
	return find_part(s, s.shape.out_h, s.shape.out_w, tile);
}

// The position, counted from the part's first picture, of what a table says is `place` from the tile's beginning; false: there
// is none.
static __device__ __forceinline__ bool find_position(unsigned &position, const tape_part &part, int place) {
	position = (unsigned)place + (unsigned)part.start;
	return position < part.count;
}

// The tables, for all tiles: how far from the tile's beginning a place or a result is.
static __device__ __forceinline__ void number_places(int *table, const conv_tape &s) {
	int in_h = (int)s.shape.in_h, in_w = (int)s.shape.in_w, pad_h = s.shape.pad_h, pad_w = s.shape.pad_w;
	bool whole = has_whole_pictures(s), stretch = s.tile_w < s.shape.out_w;
	for (int i = threadIdx.x; i < s.places; i += blockDim.x) {
		// From the beginning of the row above those that the taps reach: never negative.
		int n = i + s.row_width - pad_w, row = n / s.row_width - pad_h - 1, x = n % s.row_width, picture = 0, y = row;
		if (whole && row >= 0)
			picture = row / s.picture_rows, y = row % s.picture_rows;
		bool is_zero = x >= in_w || (whole && (row < 0 || y >= in_h || picture >= s.pictures));
		table[i] = stretch ? i - pad_w : is_zero ? NOWHERE : (picture * in_h + y) * in_w + x;
	}
}
static __device__ __forceinline__ void number_results(int *table, const conv_tape &s) {
	int out_h = (int)s.shape.out_h, out_w = (int)s.shape.out_w;
	bool whole = has_whole_pictures(s), stretch = s.tile_w < s.shape.out_w;
	for (int p = threadIdx.x; p < s.results; p += blockDim.x) {
		int row = stretch ? 0 : p / s.row_width, x = stretch ? p : p % s.row_width;
		int picture = whole ? row / s.picture_rows : 0, y = whole ? row % s.picture_rows : row;
		bool stored = x < s.tile_w && y < s.tile_h && picture < s.pictures;
		table[p] = stored ? (picture * out_h + y) * out_w + x : NOWHERE;
	}
}

// From a pack to the next one of `count` places, such that eight threads write to different banks (fetch_places).
static __host__ __device__ inline int pitch_of(int count, int packs) {
	return (count + 7) / 8 * 8 + (packs % 2 ? packs % 8 : 4);
}

// Starts the copies of `count` places of a group, PACKS a place, to a tape, by `threads` threads of which this one is
// `thread`; from: (positions, channels) at the group's first channel. Neighbouring threads have neighbouring packs, eight
// of them two of four places: whole sectors of memory, and with the pitch's last bits all banks. An odd number of packs
// goes by place and pack as it is, with the same effect.
template <int PACKS>
static __device__ __forceinline__ void fetch_places(bf16 *tape, int pitch, const int *table, int count,
	const bf16 *from, int64_t channels, const tape_part &part, int thread, int threads) {
	const bf16 *first = from + part.first * channels;
	constexpr int pairs = PACKS / 2;
#pragma unroll 4
	for (int i = thread; i < count * PACKS; i += threads) {
		int place = i / PACKS, pack = i % PACKS;
		if (PACKS % 2 == 0)
			place = i / 8 / pairs * 4 + i % 8 / 2, pack = i / 8 % pairs * 2 + i % 2;
		unsigned position;
		bool inside = find_position(position, part, table[place]);
		copy_async(
			tape + (pack * pitch + place) * 8, inside ? first + position * channels + pack * 8 : from, inside);
	}
}

// A filler's warp has asked for its part of a stage: waits for it, and says so to those who multiply.
static __device__ __forceinline__ void announce_places(uint64_t *full) {
	copy_commit();
	copy_wait<0>();
	shared_fence();
	__syncwarp();
	arrive_as_warp(full);
}

// Makes the barriers of the stages: full opens when `fillers` warps have announced their parts, empty when the four of each
// of `groups` warpgroups have left. By one thread.
static __device__ __forceinline__ void make_stage_barriers(
	uint64_t *full, uint64_t *empty, int stages, unsigned fillers, int groups) {
	for (int i = 0; i < stages; i++) {
		barrier_init(full + i, fillers);
		barrier_init(empty + i, 4 * (unsigned)groups);
	}
	barriers_are_made();
}

// ---- cutting

// What a block's shared memory may and has to hold, in bytes, a place's and a result's being those of their tapes, and in what units
// results are computed.
typedef struct tape_room {
	size_t most, fixed, of_place, of_result;
	int unit;
} tape_room;

static int round_up(int64_t x, int64_t to) {
	return (int)((x + to - 1) / to * to);
}

// A tape of `pictures`, or of 1 / parts of one.
static conv_tape make_tape(const conv_shape &c, const tape_room &room, int pictures, int parts) {
	conv_tape s = {};
	int end_w = (int)(c.out_w + c.kernel_w - 1 - c.in_w - c.pad_w), end_h = (int)(c.out_h + c.kernel_h - 1 - c.in_h - c.pad_h);
	s.shape = c, s.channels = (int)(c.in / c.groups);
	s.pictures = pictures, s.tile_h = (int)c.out_h, s.tile_w = (int)c.out_w, s.tiles_y = s.tiles_x = 1;
	s.row_width = max((int)c.in_w + max(max(c.pad_w, end_w), 0), (int)c.out_w);
	s.picture_rows = max((int)c.in_h + max(max(c.pad_h, end_h), 0), (int)c.out_h);
	if (parts > 1 && c.out_h > 1) {
		s.tile_h = (int)((c.out_h + parts - 1) / parts), s.tiles_y = (int)((c.out_h + s.tile_h - 1) / s.tile_h);
	} else if (parts > 1) {
		s.tile_w = round_up((c.out_w + parts - 1) / parts, room.unit);
		s.tiles_x = (int)((c.out_w + s.tile_w - 1) / s.tile_w);
	}
	int last = (pictures - 1) * s.picture_rows + s.tile_h - 1; // row
	s.results = round_up(last * s.row_width + s.tile_w, room.unit);
	s.places = round_up(s.results + (c.kernel_h - 1) * s.row_width + c.kernel_w - 1, 8);
	s.place_pitch = pitch_of(s.places, s.channels / 8), s.result_pitch = pitch_of(s.results, s.channels / 8);
	s.tiles = (int)((c.rows + pictures - 1) / pictures) * s.tiles_y * s.tiles_x;
	return s;
}

static size_t tape_bytes(const conv_tape &s, const tape_room &room) {
	return room.fixed + (size_t)s.place_pitch * room.of_place + (size_t)s.result_pitch * room.of_result +
		   (size_t)(s.places + s.results) * sizeof(int);
}

// The share of places that have a result of their own.
static double useful_share(const conv_tape &s) {
	return (double)(s.pictures * s.shape.out_h * s.shape.out_w) / ((double)s.places * s.tiles_y * s.tiles_x);
}

// The tape for a shape with the least waste, of at most `pictures`. One of no tiles: nothing fits.
static conv_tape cut_tape(const conv_shape &c, const tape_room &room, int64_t pictures) {
	conv_tape best = {}, s;
	for (int n = 1; n <= pictures; n++) {
		s = make_tape(c, room, n, 1);
		if (tape_bytes(s, room) > room.most)
			break;
		if (!best.tiles || useful_share(s) > useful_share(best))
			best = s;
	}
	int64_t most = c.out_h > 1 ? c.out_h : (c.out_w + room.unit - 1) / room.unit;
	for (int parts = 2; parts <= most && !best.tiles; parts++) {
		s = make_tape(c, room, 1, parts);
		if (tape_bytes(s, room) <= room.most)
			best = s;
	}
	return best;
}

#endif
