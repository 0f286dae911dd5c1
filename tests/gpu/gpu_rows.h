// The rows of bench_gpu: an operation at a shape of the base recipes, timed on a device, and what was reached as a
// share of the limits measured in the same run: of the largest matrix product, or of copying.
//
// A row is a function of one of the files beside this: it makes an operation's arrays (bench_reals and so on, from
// device memory), prints rows (bench_row_print), and gives the arrays back (bench_give_all). Failures end the program.
#ifndef D2V_TESTS_GPU_GPU_ROWS_H
#define D2V_TESTS_GPU_GPU_ROWS_H

#include "kernels/device.h"
#include "kernels/ops.h"

#define BENCH_ARRAYS 64
#define BENCH_DATASHEET 989e12 // FLOP/s: H100 and H200 SXM, bf16 dense (NVIDIA)

typedef struct bench {
	d2v_device *dev;
	char **words; // only rows with one of them; none: all
	bool small;   // a tryout on few rows, to see that it works: its times say nothing
	void *arrays[BENCH_ARRAYS];
	int count;
	double product_peak, copy_peak; // FLOP and bytes (read and written) per second
	bool failed;                    // something could not be measured
} bench;

typedef void bench_body(d2v_device *dev, const void *op);

// Defines run_NAME, a body that runs d2v_NAME.
#define BENCH_BODY(name, type) \
	static void run_##name(d2v_device *dev, const void *op) { \
		d2v_##name(dev, (const type *)op); \
	}

typedef struct bench_row {
	const char *name;
	double flops, bytes; // of a call; flops > 0: held against products, otherwise bytes against copying
	double wanted;       // FLOP/s, or the share of copying; 0: nothing
	bench_body *run;
	const void *op;
} bench_row;

void bench_open(bench *b, const char *device, char **words); // measures the limits, and prints them
void bench_close(bench *b);

bool bench_is_wanted(const bench *b, const char *name);
int64_t bench_rows(const bench *b, int64_t rows); // so many; of a tryout a 512th

// Device memory until bench_give_all. Numbers between -1/2 and 1/2, none of them 0: products of zeros run faster than
// they ever will.
void *bench_take(bench *b, size_t bytes);
float *bench_floats(bench *b, int64_t count);
d2v_real *bench_reals(bench *b, int64_t count);
void *bench_table(bench *b, const void *host, size_t bytes); // a copy
void bench_give_all(bench *b);

void bench_row_print(bench *b, const bench_row *row); // if it is wanted
// The same of an operation's two ways, the second one's name ending in ", backward"; gives all arrays back.
void bench_pair_print(bench *b, const bench_row *forward, const bench_row *backward);
// The way back without the sums for a bias that ride on it: what they cost. (Apart they are a `bias gradient`.)
void bench_without_sums(bench *b, const bench_row *backward);

// ---- the rows, by what they measure

void product_rows(bench *b);     // linear layers, GELU on and around them, bias gradients
void attention_rows(bench *b);   // by all ways there are, with ALiBi and dropout
void convolution_rows(bench *b); // of decoders, positions, and the extractor
void pass_rows(bench *b);        // what is bound by memory: norms, copies, targets, parameters
void step_rows(bench *b);        // whole training steps at the published batches

#endif
