// Operations at the shapes of the base recipes, and whole training steps at their published batches, on one GPU: time,
// what was reached, and that as a share of the matrix products and of the copying measured in the same run; behind it
// what is wanted, where something is (mark.h). A table on stdout, one JSON object a line beside it. Arguments: [DEVICE
// [WORD...]]; only rows that have a word. SMALL=1: on little, to try all of it anywhere (DEVICE cpu). bench_gpu.sh runs
// it, and bench_loader.sh, and says what was missed.
#include "tests/gpu/gpu_rows.h"

int main(int argc, char **argv) {
	static bench b;
	bench_open(&b, argc > 1 ? argv[1] : "cuda", argv + (argc > 1 ? 2 : 1));
	product_rows(&b);
	attention_rows(&b);
	convolution_rows(&b);
	pass_rows(&b);
	step_rows(&b);
	bench_close(&b);
	return b.failed ? 1 : 0;
}
