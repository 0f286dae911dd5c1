// Dropout of attention, drawn ahead: squares of 32 queries and 32 keys, a word a lane.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/attention_draws.h"
#include "kernels/cuda/draws.cuh"

#define WARPS 8
#define SQUARE 32

// A head's.
struct draws_shape {
	int tokens, squares; // squares of a row of them
	int words_of_rows, words_of_head;
};

// Bit i of lane n becomes bit n of lane i: two squares of 16 bits of 16 lanes change places, then those of 8 within
// each, and so on.
static __device__ __forceinline__ uint32_t transpose_bits(uint32_t bits) {
	uint32_t low = 0x0000ffffu; // of squares that lie side by side
#pragma unroll
	for (int size = 16; size; size /= 2, low ^= low << size) {
		uint32_t other = __shfl_xor_sync(0xffffffffu, bits, size);
		bool lower = threadIdx.x & size;
		bits = lower ? (bits & ~low) | (other >> size & low) : (bits & low) | (other << size & ~low);
	}
	return bits;
}

// The lane's half of its word of 16 rows of a square (a row a lane), from `row` on.
static __device__ __forceinline__ uint32_t find_half(uint32_t bits, int row) {
	int lane = (int)threadIdx.x % 32, first = lane % 4 * 2;
	uint32_t upper = __shfl_sync(0xffffffffu, bits, row + lane / 4) >> first & 0x03030303u;
	uint32_t lower = __shfl_sync(0xffffffffu, bits, row + lane / 4 + 8) >> first & 0x03030303u;
	uint32_t both = upper | lower << 2; // four bits a byte
	both |= both >> 4;
	return (both & 0xffu) | (both >> 8 & 0xff00u);
}

// The square at place (row, column) of a head's, whose words are `to`. The whole warp.
static __device__ __forceinline__ void store_square(
	uint16_t *to, uint32_t bits, int row, int column, const draws_shape &shape) {
	int at = column / 2 * D2V_DRAWN_WORDS + (int)threadIdx.x % 32;
#pragma unroll
	for (int i = 0; i < 2; i++) {
		uint32_t half = find_half(bits, i * D2V_DRAWN_ROWS);
		if (row * SQUARE + i * D2V_DRAWN_ROWS < shape.tokens)
			to[((2 * row + i) * shape.words_of_rows + at) * 2 + column % 2] = (uint16_t)half;
	}
}

// A warp has 32 queries of a head, against 32 keys after another. The four Philox blocks of 32 draws differ in two
// bits, and share the beginning of their rounds; that those at the ends may be more than there are keys and queries
// costs less than to ask.
static __global__ void __launch_bounds__(32 * WARPS)
	draw_words(uint32_t *of_queries, uint32_t *of_keys, drop_rule drop, unsigned heads, draws_shape shape) {
	unsigned warp = blockIdx.x * WARPS + threadIdx.x / 32, head = warp / (unsigned)shape.squares;
	if (head >= heads)
		return;
	int row = (int)(warp % (unsigned)shape.squares), query = row * SQUARE + (int)threadIdx.x % 32;
	int64_t words = (int64_t)head * shape.words_of_head;
	uint64_t first = (uint64_t)(drop.first / SQUARE + ((int64_t)head * shape.tokens + query) * shape.squares);
#pragma unroll 1
	for (int column = 0; column < shape.squares; column++) {
		uint32_t bits = 0;
#pragma unroll
		for (int i = 0; i < SQUARE / D2V_DRAWS_BLOCK; i++)
			bits |= keep_eight(drop, (first + column) * (SQUARE / D2V_DRAWS_BLOCK) | i) << i * D2V_DRAWS_BLOCK;
		store_square((uint16_t *)(of_queries + words), bits, row, column, shape);
		store_square((uint16_t *)(of_keys + words), transpose_bits(bits), column, row, shape);
	}
}

static void draw(d2v_device *dev, const d2v_attention *op, uint32_t *of_queries, uint32_t *of_keys) {
	drop_rule drop = make_drop_rule(&op->drop);
	int64_t heads = op->rows * op->heads, squares = d2v_attention_draws(op->tokens) / SQUARE;
	D2V_ASSERT(drop.span == 1 && drop.first % SQUARE == 0);
	draws_shape shape = { (int)op->tokens, (int)squares, (int)d2v_drawn_words_of_rows(op->tokens),
		(int)d2v_drawn_words_of_head(op->tokens) };
	D2V_LAUNCH(dev, draw_words, d2v_blocks(heads * squares, WARPS), 32 * WARPS, 0, of_queries, of_keys, drop,
		(unsigned)heads, shape);
}

// Where they are that begin at `words`.
static score_draws place_draws(const d2v_attention *op, uint32_t *words) {
	int64_t of_head = d2v_drawn_words_of_head(op->tokens);
	return { words, words + op->rows * op->heads * of_head, (int)of_head, (int)d2v_drawn_words_of_rows(op->tokens),
		make_drop_rule(&op->drop).kept };
}

bool d2v_cuda_attention_draw(d2v_device *dev, const d2v_attention *op, score_draws *draws) {
	uint32_t *words = (uint32_t *)op->kept;
	*draws = {};
	if (!(op->drop.p > 0))
		return true;
	if (!words && !(words = (uint32_t *)d2v_cuda_scratch(dev, d2v_kept_draws_bytes(op))))
		return false;
	*draws = place_draws(op, words);
	draw(dev, op, words, (uint32_t *)draws->of_keys);
	return true;
}

bool d2v_cuda_attention_find_draws(
	d2v_device *dev, const d2v_attention *op, score_draws *draws, size_t more, void **rest) {
	bool drops = op->drop.p > 0, again = drops && !op->kept;
	size_t size = again ? d2v_cuda_round(d2v_kept_draws_bytes(op)) : 0;
	char *scratch = size + more ? (char *)d2v_cuda_scratch(dev, size + more) : NULL;
	if (size + more && !scratch)
		return false;
	*draws = {};
	if (drops)
		*draws = place_draws(op, again ? (uint32_t *)scratch : (uint32_t *)op->kept);
	if (again)
		draw(dev, op, (uint32_t *)scratch, (uint32_t *)draws->of_keys);
	if (rest)
		*rest = scratch + size;
	return true;
}

size_t d2v_cuda_attention_kept_bytes(d2v_device *dev, const d2v_attention *op) {
	return d2v_cuda_attention_is_tensor(dev, op) ? d2v_kept_draws_bytes(op) : 0;
}
