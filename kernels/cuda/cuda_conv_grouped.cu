// Convolutions in groups of few channels, stride 1, in 16 bits on the tensor cores: the image decoder's 3 x 3, the speech
// encoder's positions (19 taps), the decoders of speech and of images.
//
// A group's weights stay in shared memory while its block goes over tiles of the input. A tile lies there once, with the
// margin that the taps reach: a plane whose rows are `row_width` places wide, numbered through. So the places that a tap
// reads for the results p = 0, 1, 2, ... are p + a number that depends on the tap alone, and fragments of every window
// are fetched straight from the plane: nothing is copied per tap. Results whose place is in the margin are not stored.
//
// k, the index of the sums, runs over packs of 8 channels: pack = tap * packs of the group + pack of the channel.
//
// On Hopper cuda_conv_groups_planes.cu and cuda_conv_groups_weights.cu take some of them over.
#include "kernels/cuda/conv_results.cuh"
#include "kernels/cuda/copy_async.cuh"
#include "kernels/cuda/mma.cuh"

#include <stdlib.h>

#define ELEMENT sizeof(uint16_t) // of the working type
#define ROWS 2                // of a warp, in 16s
#define LARGE_TILE 512        // results
#define SMALL_TILE 256        // leaves room for two blocks a processor, if the weights do
#define MAX_TAPS 9           // of a block in the weights' gradient: one a warp
#define MAX_CHANNELS 64      // of a group's results
#define SHARED_MOST ((size_t)226 << 10)
#define PROCESSORS 132 // of an H100 or H200; others only divide the work less evenly

// What one pass does: results (rows, out_h, out_w, out) from sources (rows, in_h, in_w, in).
typedef struct plane_pass {
	int64_t rows, in, out; // in, out: channels of all groups
	int in_h, in_w, out_h, out_w, in_group, out_group, groups, kernel_h, kernel_w, pad_h, pad_w;
	bool flipped; // tap (u, v) reads what lies at kernel - 1 - (u, v)
	// tiles
	int tile_h, tile_w, tiles_y, tiles_x, row_width;
	int results, places; // of a tile, margins included; results in 16s
	int in_pitch, out_pitch, weight_pitch, steps; // elements between places and weights in shared memory; steps of 16 in k
	int64_t tiles;
} plane_pass;

// ---- filling shared memory

// Where tile `number` starts: its row of the batch and its first result.
struct tile_place {
	int64_t row;
	int y, x;
};
static __device__ __forceinline__ tile_place find_tile(const plane_pass &s, int64_t number) {
	int across = s.tiles_x * s.tiles_y, rest = (int)(number % across);
	tile_place at;
	at.row = number / across;
	at.y = rest / s.tiles_x * s.tile_h, at.x = rest % s.tiles_x * s.tile_w;
	return at;
}

// A place's offsets from the tile's first one, as y << 16 | x.
static __device__ __forceinline__ void number_places(int *table, const plane_pass &s) {
	for (int i = threadIdx.x; i < s.places; i += blockDim.x)
		table[i] = i / s.row_width << 16 | i % s.row_width;
}

// Where a plane is filled from: (rows, height, width, channels) at the group's first channel, `packs` of 8 of which are
// the group's; what lies at or past y_end, x_end, or past `across` places of a plane's row, is taken for zero.
template <class T> struct plane_source {
	const T *from;
	int64_t channels;
	int packs, height, width, y_end, x_end, across;
};

// The first `count` places of a plane that starts at (y0, x0). Eight neighbouring threads share a place.
template <class T>
static __device__ __forceinline__ void fetch_plane(
	T *plane, int pitch, const int *table, int count, const plane_source<T> &source, int64_t row, int y0, int x0) {
	int pack = threadIdx.x % 8;
	if (pack >= source.packs)
		return;
	const T *image = source.from + row * source.height * source.width * source.channels + pack * 8;
	int channels = (int)source.channels;
#pragma unroll 4
	for (int i = threadIdx.x / 8; i < count; i += blockDim.x / 8) {
		int dx = table[i] & 0xffff, y = y0 + (table[i] >> 16), x = x0 + dx;
		bool inside = y >= 0 && y < source.y_end && x >= 0 && x < source.x_end && dx < source.across;
		copy_async(plane + i * pitch + pack * 8, inside ? image + (y * source.width + x) * channels : source.from, inside);
	}
}

template <class T> static __device__ __forceinline__ plane_source<T> input_of(const plane_pass &s, const T *from) {
	plane_source<T> source = { from, s.in, s.in_group / 8, s.in_h, s.in_w, s.in_h, s.in_w, s.row_width };
	return source;
}

// How far from a result's place each pack of k lies in the plane, in elements. Packs past the last tap read the first:
// their weights are zero.
static __device__ __forceinline__ void number_packs(int *offsets, const plane_pass &s) {
	int packs = s.in_group / 8, taps = s.kernel_h * s.kernel_w;
	for (int i = threadIdx.x; i < 2 * s.steps; i += blockDim.x) {
		int tap = i / packs, u = tap / s.kernel_w, v = tap % s.kernel_w;
		if (s.flipped)
			u = s.kernel_h - 1 - u, v = s.kernel_w - 1 - v;
		offsets[i] = tap < taps ? (u * s.row_width + v) * s.in_pitch + i % packs * 8 : 0;
	}
}

// ---- results

// The group's weights (out_group, taps * in_group) in the order of channel_of.
template <int BLOCKS, class T>
static __device__ __forceinline__ void fetch_weights(T *to, const T *w, const plane_pass &s) {
	int width = s.kernel_h * s.kernel_w * s.in_group, packs = 2 * s.steps;
	for (int i = threadIdx.x; i < 8 * BLOCKS * packs; i += blockDim.x) {
		int row = i / packs, k = i % packs * 8, channel = channel_of<BLOCKS>(row / 8, row % 8 / 2) + row % 2;
		copy_async(to + row * s.weight_pitch + k, w + (int64_t)channel * width + k, k < width);
	}
}

template <int COUNT, class T>
static __device__ __forceinline__ void store_some(T *to, const float *values, bool accumulate) {
	float v[COUNT], before[COUNT];
	if (accumulate)
		load_pack(before, to);
#pragma unroll
	for (int i = 0; i < COUNT; i++)
		v[i] = values[i] + (accumulate ? before[i] : 0.0f);
	store_pack(to, v);
}

// The lane's results of one place, two of each block. to: the place's first channel of the group.
template <int BLOCKS, class T>
static __device__ __forceinline__ void store_results(T *to, int t, const float (&values)[2 * BLOCKS], bool accumulate) {
	constexpr int fours = BLOCKS / 4 * 4, pairs = BLOCKS / 2 * 2;
#pragma unroll
	for (int j = 0; j < fours; j += 4)
		store_some<8>(to + 8 * j + 8 * t, values + 2 * j, accumulate);
	if (fours < pairs)
		store_some<4>(to + 8 * fours + 4 * t, values + 2 * fours, accumulate);
	if (pairs < BLOCKS)
		store_some<2>(to + 8 * pairs + 2 * t, values + 2 * pairs, accumulate);
}

// sums (COUNT times 16, BLOCKS times 8) += a b of one step of k.
template <class T, int COUNT, int BLOCKS>
static __device__ __forceinline__ void multiply_step(
	float (&sums)[COUNT][BLOCKS][4], const uint32_t (&a)[COUNT][4], const uint32_t (&b)[(BLOCKS + 1) / 2][4]) {
#pragma unroll
	for (int j = 0; j < BLOCKS; j++) {
		uint32_t right[2] = { b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1] };
#pragma unroll
		for (int m = 0; m < COUNT; m++)
			mma_16816<T>(sums[m][j], a[m], right);
	}
}

// Block (number, group): tiles number, number + gridDim.x, ... A warp has 16 ROWS results of a tile, for all channels of
// the group, BLOCKS times 8. (More rows a warp would fetch the weights less often; measured, that loses more to warps
// without work.)
template <class T, int BLOCKS>
static __global__ void __launch_bounds__(LARGE_TILE / (16 * ROWS) * 32)
	convolve_planes(plane_pass s, T *y, const T *x, const T *w, const T *bias, bool accumulate) {
	D2V_SHARED(T, weights);
	T *planes = weights + (8 * BLOCKS + 8) * s.weight_pitch;
	int plane_size = s.places * s.in_pitch;
	int *offsets = (int *)(planes + 2 * plane_size), *table = offsets + 2 * s.steps;
	int lane = threadIdx.x % 32, t = lane % 4, first = threadIdx.x / 32 * 16 * ROWS;
	int64_t group = blockIdx.y;
	plane_source<T> source = input_of(s, x + group * s.in_group);
	number_places(table, s);
	number_packs(offsets, s);
	fetch_weights<BLOCKS>(weights, w + group * s.out_group * s.kernel_h * s.kernel_w * s.in_group, s);
	float add[2 * BLOCKS];
#pragma unroll
	for (int i = 0; i < 2 * BLOCKS; i++)
		add[i] = bias ? to_float(bias[group * s.out_group + channel_of<BLOCKS>(i / 2, t) + i % 2]) : 0.0f;
	__syncthreads();
	auto fetch = [&](int64_t number, int half) {
		if (number < s.tiles) {
			tile_place at = find_tile(s, number);
			fetch_plane(
				planes + half * plane_size, s.in_pitch, table, s.places, source, at.row, at.y - s.pad_h, at.x - s.pad_w);
		}
		copy_commit();
	};
	fetch(blockIdx.x, 0);
	int half = 0;
	const T *b_row = weights + (lane % 8 + lane / 16 * 8) * s.weight_pitch + lane / 8 % 2 * 8;
	for (int64_t number = blockIdx.x; number < s.tiles; number += gridDim.x, half ^= 1) {
		fetch(number + gridDim.x, half ^ 1);
		copy_wait<1>();
		__syncthreads();
		// A step's fragments are on their way while those of the step before are multiplied.
		float sums[ROWS][BLOCKS][4] = {};
		uint32_t a[2][ROWS][4], b[2][(BLOCKS + 1) / 2][4];
		const T *a_row = planes + half * plane_size + (first + lane % 16) * s.in_pitch;
		auto load = [&](int step, uint32_t(&left)[ROWS][4], uint32_t(&right)[(BLOCKS + 1) / 2][4]) {
			const T *at = a_row + offsets[2 * step + lane / 16];
#pragma unroll
			for (int m = 0; m < ROWS; m++) // past the last result the first is fetched again
				load_matrices(left[m], first + 16 * m < s.results ? at + 16 * m * s.in_pitch : at);
#pragma unroll
			for (int j = 0; j < BLOCKS; j += 2)
				load_matrices(right[j / 2], b_row + j * 8 * s.weight_pitch + step * 16);
		};
		if (first < s.results) {
			load(0, a[0], b[0]);
			for (int step = 0; step + 1 < s.steps; step += 2) {
				load(step + 1, a[1], b[1]);
				multiply_step<T>(sums, a[0], b[0]);
				load(min(step + 2, s.steps - 1), a[0], b[0]);
				multiply_step<T>(sums, a[1], b[1]);
			}
			if (s.steps % 2)
				multiply_step<T>(sums, a[0], b[0]);
		}
		tile_place at = find_tile(s, number);
		T *to = y + ((at.row * s.out_h + at.y) * s.out_w + at.x) * s.out + group * s.out_group;
#pragma unroll
		for (int i = 0; i < 2 * ROWS; i++) { // the lane's places
			int p = first + i * 8 + lane / 4, place = p < s.results ? table[p] : -1, dx = place & 0xffff, dy = place >> 16;
			if (place < 0 || dx >= s.tile_w || dy >= s.tile_h || at.x + dx >= s.out_w || at.y + dy >= s.out_h)
				continue;
			float values[2 * BLOCKS];
#pragma unroll
			for (int j = 0; j < BLOCKS; j++) {
				values[2 * j] = sums[i / 2][j][i % 2 * 2] + add[2 * j];
				values[2 * j + 1] = sums[i / 2][j][i % 2 * 2 + 1] + add[2 * j + 1];
			}
			store_results<BLOCKS>(to + (dy * s.out_w + dx) * (int)s.out, t, values, accumulate);
		}
		__syncthreads(); // the plane is done with
	}
	copy_wait<0>();
}

// ---- the weights' gradient

// Block (piece, group, part of the taps): a warp has one tap and sums, over the tiles of the piece, the products of the
// group's d_y (results, all channels) and of what the tap reads of x. partial (pieces, out, taps, in_group).
template <class T, int PARTS, int BLOCKS>
static __global__ void __launch_bounds__(32 * MAX_TAPS, PARTS * BLOCKS > 18 ? 1 : 2)
	sum_weights(plane_pass s, float *partial, const T *x, const T *d_y, int64_t tiles_of_piece) {
	D2V_SHARED(T, planes);
	int plane_size = s.places * s.in_pitch, result_size = s.results * s.out_pitch;
	T *results = planes + 2 * plane_size;
	int *table = (int *)(results + 2 * result_size + 32); // a fragment may reach past the last channel
	int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, taps = s.kernel_h * s.kernel_w;
	int tap = blockIdx.z * (blockDim.x / 32) + threadIdx.x / 32;
	int64_t group = blockIdx.y, begin = blockIdx.x * tiles_of_piece;
	int64_t end = begin + tiles_of_piece < s.tiles ? begin + tiles_of_piece : s.tiles;
	plane_source<T> source = input_of(s, x + group * s.in_group);
	number_places(table, s);
	__syncthreads();
	auto fetch = [&](int64_t number, int half) {
		if (number < end) {
			tile_place at = find_tile(s, number);
			fetch_plane(
				planes + half * plane_size, s.in_pitch, table, s.places, source, at.row, at.y - s.pad_h, at.x - s.pad_w);
			// What is in the margin, or belongs to the next tile, counts as zero.
			plane_source<T> from = { d_y + group * s.out_group, s.out, s.out_group / 8, s.out_h, s.out_w,
				min(at.y + s.tile_h, s.out_h), min(at.x + s.tile_w, s.out_w), s.tile_w };
			fetch_plane(results + half * result_size, s.out_pitch, table, s.results, from, at.row, at.y, at.x);
		}
		copy_commit();
	};
	float sums[PARTS][BLOCKS][4] = {};
	int offset = (tap / s.kernel_w * s.row_width + tap % s.kernel_w) * s.in_pitch;
	int half = 0;
	fetch(begin, 0);
	for (int64_t number = begin; number < end; number++, half ^= 1) {
		fetch(number + 1, half ^ 1);
		copy_wait<1>();
		__syncthreads();
		const T *a_row = planes + half * plane_size + offset + (lane % 8 + lane / 16 * 8) * s.in_pitch + lane / 8 % 2 * 8;
		const T *b_row = results + half * result_size + (lane % 8 + lane / 8 % 2 * 8) * s.out_pitch + lane / 16 * 8;
#pragma unroll 1 // more would not leave registers for a second block
		for (int p = 0; p < s.results && tap < taps; p += 16) {
			uint32_t a[PARTS][4], b[(BLOCKS + 1) / 2][4];
#pragma unroll
			for (int m = 0; m < PARTS; m++)
				load_transposed(a[m], a_row + p * s.in_pitch + m * 16);
#pragma unroll
			for (int j = 0; j < BLOCKS; j += 2)
				load_transposed(b[j / 2], b_row + p * s.out_pitch + j * 8);
			multiply_step<T>(sums, a, b);
		}
		__syncthreads();
	}
	copy_wait<0>();
	if (tap >= taps)
		return;
	float *to = partial + blockIdx.x * s.out * taps * s.in_group;
#pragma unroll
	for (int m = 0; m < PARTS; m++)
#pragma unroll
		for (int j = 0; j < BLOCKS; j++)
#pragma unroll
			for (int i = 0; i < 4; i++) {
				int channel = m * 16 + g + i / 2 * 8;
				int64_t o = group * s.out_group + j * 8 + 2 * t + i % 2;
				if (channel < s.in_group)
					to[(o * taps + tap) * s.in_group + channel] = sums[m][j][i];
			}
}

// ---- choosing

static int round_up(int64_t x, int64_t to) {
	return (int)((x + to - 1) / to * to);
}

// In 16-byte packs an odd number: then the rows of a matrix lie in different banks.
static int skewed(int channels) {
	return (channels / 8 | 1) * 8;
}

// Tiles of at most `most` results: whole rows of two dimensions, stretches of one.
static void cut_tiles(plane_pass *s, int most) {
	s->row_width = s->out_w + s->kernel_w - 1;
	if (s->out_h == 1) {
		s->tiles_x = (s->out_w + most - 1) / most, s->tiles_y = 1, s->tile_h = 1;
		s->tile_w = round_up((s->out_w + s->tiles_x - 1) / s->tiles_x, 16);
		s->tiles_x = (s->out_w + s->tile_w - 1) / s->tile_w;
		s->row_width = s->tile_w + s->kernel_w - 1;
	} else {
		int rows = most / s->row_width < 1 ? 1 : most / s->row_width;
		s->tiles_y = (s->out_h + rows - 1) / rows, s->tiles_x = 1, s->tile_w = s->out_w;
		s->tile_h = (s->out_h + s->tiles_y - 1) / s->tiles_y;
	}
	s->results = round_up((s->tile_h - 1) * s->row_width + s->tile_w, 16);
	s->places = s->results + (s->kernel_h - 1) * s->row_width + s->kernel_w - 1;
	s->tiles = s->rows * s->tiles_y * s->tiles_x;
}

static plane_pass forward_pass(const conv_shape &c, int most) {
	plane_pass s = {};
	s.rows = c.rows, s.in = c.in, s.out = c.out, s.groups = (int)c.groups;
	s.in_group = (int)(c.in / c.groups), s.out_group = (int)(c.out / c.groups);
	s.in_h = (int)c.in_h, s.in_w = (int)c.in_w, s.out_h = (int)c.out_h, s.out_w = (int)c.out_w;
	s.kernel_h = c.kernel_h, s.kernel_w = c.kernel_w, s.pad_h = c.pad_h, s.pad_w = c.pad_w;
	s.in_pitch = skewed(s.in_group), s.out_pitch = skewed(s.out_group);
	s.steps = round_up((int64_t)s.kernel_h * s.kernel_w * s.in_group, 16) / 16;
	s.weight_pitch = 16 * s.steps + 8;
	cut_tiles(&s, most);
	return s;
}

// The gradient of the input is a convolution of d_y with the taps in reverse.
static plane_pass backward_pass(const conv_shape &c, int most) {
	conv_shape back = c;
	back.in = c.out, back.out = c.in, back.in_h = c.out_h, back.in_w = c.out_w, back.out_h = c.in_h, back.out_w = c.in_w;
	back.pad_h = c.kernel_h - 1 - c.pad_h, back.pad_w = c.kernel_w - 1 - c.pad_w;
	plane_pass s = forward_pass(back, most);
	s.flipped = true;
	return s;
}

static size_t convolve_shared(const plane_pass &s) {
	return (size_t)(s.out_group + 8) * s.weight_pitch * ELEMENT + 2 * (size_t)s.places * s.in_pitch * ELEMENT +
		(size_t)(2 * s.steps + s.places) * sizeof(int);
}

static size_t weights_shared(const plane_pass &s) {
	return 2 * ((size_t)s.places * s.in_pitch + (size_t)s.results * s.out_pitch + 16) * ELEMENT +
		(size_t)s.places * sizeof(int);
}


// The larger tile when only one block fits a processor anyway.
static plane_pass choose_tile(const conv_shape &c, plane_pass (*make)(const conv_shape &, int)) {
	plane_pass s = make(c, SMALL_TILE);
	if (2 * (convolve_shared(s) + 1024) <= SHARED_MOST)
		return s;
	plane_pass large = make(c, LARGE_TILE);
	return convolve_shared(large) <= SHARED_MOST ? large : s;
}

static bool group_fits(int64_t channels) {
	return channels == 16 || channels == 24 || channels == 32 || channels == 48 || channels == 64;
}

bool d2v_cuda_conv_is_grouped(d2v_device *dev, const conv_shape &c) {
	if (!d2v_cuda_is_16_bit(dev) || c.groups == 1 || c.stride_h != 1 || c.stride_w != 1 || !group_fits(c.in / c.groups) ||
		!group_fits(c.out / c.groups) || c.kernel_h * c.kernel_w > 64 || c.in_h * c.in_w * c.in > INT32_MAX || c.out_h * c.out_w * c.out > INT32_MAX)
		return false;
	plane_pass forward = choose_tile(c, forward_pass), backward = choose_tile(c, backward_pass);
	return forward.results <= LARGE_TILE && backward.results <= LARGE_TILE && convolve_shared(forward) <= SHARED_MOST &&
		convolve_shared(backward) <= SHARED_MOST && weights_shared(forward_pass(c, SMALL_TILE)) <= SHARED_MOST;
}

static void convolve(d2v_device *dev, const plane_pass &s, d2v_real *y, const d2v_real *x, const void *turned, const d2v_real *bias, bool accumulate) {
	size_t shared = convolve_shared(s);
	int64_t at_once = PROCESSORS * (int64_t)(SHARED_MOST / (shared + 1024) < 1 ? 1 : SHARED_MOST / (shared + 1024));
	int64_t blocks = at_once / s.groups < 1 ? 1 : at_once / s.groups;
	dim3 grid((unsigned)(blocks < s.tiles ? blocks : s.tiles), (unsigned)s.groups);
	unsigned threads = (unsigned)round_up(s.results, 16 * ROWS) / ROWS * 2;
	D2V_BY_16_BIT_TYPE(dev, BY_BLOCKS(s.out_group, D2V_LAUNCH(dev, (convolve_planes<T, BLOCKS>), grid, threads, shared, s, (T *)y,
		(const T *)x, (const T *)turned, (const T *)bias, accumulate)));
}

// Whether Hopper's warpgroups are to take it on, where they can. D2V_CONV=auto, or nothing: where they are the better way: on an
// H200 they took 0.57 to 0.90 of the time with 48 channels a group, and up to 1.3 of it with 24. =wgmma: always; =mma: never.
static bool groups_are_wanted(d2v_device *dev, const conv_shape &c) {
	const char *way = getenv("D2V_CONV");
	bool always = way && strcmp(way, "wgmma") == 0, never = way && strcmp(way, "mma") == 0;
	if (way && !always && !never && strcmp(way, "auto") != 0)
		d2v_device_set_error(dev, D2V_INVALID, "D2V_CONV=%s is none of auto, mma and wgmma", way);
	return !never && (always || c.in / c.groups >= 32);
}

void d2v_cuda_conv_grouped_forward(
	d2v_device *dev, const conv_shape &c, d2v_real *y, const d2v_real *x, const void *turned, const d2v_real *bias) {
	if (groups_are_wanted(dev, c) && d2v_cuda_conv_fits_groups(dev, c)) {
		d2v_cuda_conv_groups_forward(dev, c, y, x, turned, bias);
		return;
	}
	convolve(dev, choose_tile(c, forward_pass), y, x, turned, bias, false);
}

void d2v_cuda_conv_grouped_backward_x(
	d2v_device *dev, const conv_shape &c, d2v_real *d_x, const d2v_real *d_y, const void *turned, bool accumulate) {
	if (groups_are_wanted(dev, c) && d2v_cuda_conv_fits_groups(dev, c)) {
		d2v_cuda_conv_groups_backward_x(dev, c, d_x, d_y, turned, accumulate);
		return;
	}
	convolve(dev, choose_tile(c, backward_pass), d_x, d_y, turned, NULL, accumulate);
}

// Taps of a block, and parts that makes of all of them.
static int taps_of_block(const plane_pass &s, int *parts) {
	int taps = s.kernel_h * s.kernel_w;
	*parts = (taps + MAX_TAPS - 1) / MAX_TAPS;
	return (taps + *parts - 1) / *parts;
}

// Enough blocks for two a processor; by size alone, since the sums' order is part of the result.
static int64_t count_pieces(const conv_shape &c) {
	plane_pass s = forward_pass(c, SMALL_TILE);
	int parts;
	taps_of_block(s, &parts);
	int64_t pieces = 2 * PROCESSORS / (s.groups * parts);
	return pieces < 1 ? 1 : pieces > s.tiles ? s.tiles : pieces;
}

int64_t d2v_cuda_conv_grouped_pieces(d2v_device *dev, const conv_shape &c) {
	bool by_groups = groups_are_wanted(dev, c) && d2v_cuda_conv_fits_groups_weights(dev, c);
	return by_groups ? d2v_cuda_conv_groups_pieces(c) : count_pieces(c);
}

#define BY_PARTS(channels, ...) \
	do { \
		if ((channels) == 16) { \
			constexpr int PARTS = 1; \
			__VA_ARGS__; \
		} else if ((channels) <= 32) { \
			constexpr int PARTS = 2; \
			__VA_ARGS__; \
		} else if ((channels) == 48) { \
			constexpr int PARTS = 3; \
			__VA_ARGS__; \
		} else { \
			constexpr int PARTS = 4; \
			__VA_ARGS__; \
		} \
	} while (0)

void d2v_cuda_conv_grouped_backward_w(
	d2v_device *dev, const conv_shape &c, float *partial, const d2v_real *x, const d2v_real *d_y) {
	if (groups_are_wanted(dev, c) && d2v_cuda_conv_fits_groups_weights(dev, c)) {
		d2v_cuda_conv_groups_backward_w(dev, c, partial, x, d_y);
		return;
	}
	plane_pass s = forward_pass(c, SMALL_TILE);
	int parts, taps = taps_of_block(s, &parts);
	int64_t pieces = count_pieces(c), tiles = (s.tiles + pieces - 1) / pieces;
	dim3 grid((unsigned)pieces, (unsigned)s.groups, (unsigned)parts);
	D2V_BY_16_BIT_TYPE(dev, BY_PARTS(s.in_group, BY_BLOCKS(s.out_group, D2V_LAUNCH(dev, (sum_weights<T, PARTS, BLOCKS>), grid,
		32 * taps, weights_shared(s), s, partial, (const T *)x, (const T *)d_y, tiles))));
}
