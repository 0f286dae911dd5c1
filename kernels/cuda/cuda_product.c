#include "kernels/cuda/cuda_product.h"

#include "base/hash.h"
#include "base/memory.h"

#include <cublasLt.h>
#include <string.h>

// What Hopper's products are given by PyTorch too; smaller ones rule out some algorithms.
#define WORKSPACE ((size_t)32 << 20)
#define CANDIDATES 16

typedef struct product_key { // all that decides a plan; no padding, compared byte by byte
	int64_t m, n, k;
	int32_t trans_a, trans_b, float_out, accumulate, bias, candidate;
} product_key;

typedef struct plan {
	product_key key;
	cublasLtMatmulDesc_t what;
	cublasLtMatrixLayout_t left, right, result;
	cublasLtMatmulAlgo_t how;
	float waves;
	size_t workspace;
	bool missing; // there is no such candidate
} plan;

struct d2v_cuda_products {
	cublasLtHandle_t handle;
	d2v_precision precision;
	cudaStream_t stream;
	void *workspace;
	plan *plans; // (capacity) open addressing, key.m == 0: free; at most half full
	size_t capacity, count;
};

static bool check(d2v_device *dev, cublasStatus_t status, const char *what) {
	if (status == CUBLAS_STATUS_SUCCESS)
		return true;
	d2v_device_set_error(dev, status == CUBLAS_STATUS_ALLOC_FAILED ? D2V_NO_MEMORY : D2V_IO, "cuBLASLt: %s: %s", what,
		cublasLtGetStatusString(status));
	return false;
}

static void release_plan(plan *p) {
	if (p->result)
		cublasLtMatrixLayoutDestroy(p->result);
	if (p->right)
		cublasLtMatrixLayoutDestroy(p->right);
	if (p->left)
		cublasLtMatrixLayoutDestroy(p->left);
	if (p->what)
		cublasLtMatmulDescDestroy(p->what);
	memset(p, 0, sizeof *p);
}

d2v_status d2v_cuda_products_new(
	struct d2v_cuda_products **out, d2v_precision precision, cudaStream_t stream, d2v_error *err) {
	struct d2v_cuda_products *self;
	*out = NULL;
	D2V_TRY(d2v_alloc_zero(&self, 1, sizeof *self, err));
	self->precision = precision;
	self->stream = stream;
	cublasStatus_t status = cublasLtCreate(&self->handle);
	if (status != CUBLAS_STATUS_SUCCESS || cudaMalloc(&self->workspace, WORKSPACE) != cudaSuccess) {
		d2v_cuda_products_free(self);
		return d2v_fail(err, D2V_NO_MEMORY, "cuBLASLt: %s; is the GPU's memory full?", cublasLtGetStatusString(status));
	}
	*out = self;
	return D2V_OK;
}

void d2v_cuda_products_free(struct d2v_cuda_products *self) {
	if (!self)
		return;
	for (size_t i = 0; i < self->capacity; i++)
		if (self->plans[i].key.m)
			release_plan(&self->plans[i]);
	d2v_free(self->plans);
	cudaFree(self->workspace);
	if (self->handle)
		cublasLtDestroy(self->handle);
	d2v_free(self);
}

// ---- making a plan
//
// cuBLASLt counts column by column, so the rows of ours are its columns: it is asked for the transposed result, which
// swaps the operands.

static bool make_layout(d2v_device *dev, cublasLtMatrixLayout_t *layout, cudaDataType type, int64_t rows, int64_t columns) {
	return check(dev, cublasLtMatrixLayoutCreate(layout, type, (uint64_t)rows, (uint64_t)columns, rows), "layout");
}

static bool describe(d2v_device *dev, const struct d2v_cuda_products *self, const d2v_cuda_product *op, plan *p) {
	cudaDataType working = self->precision == D2V_PRECISION_BF16 ? CUDA_R_16BF
		: self->precision == D2V_PRECISION_F16					 ? CUDA_R_16F
																 : CUDA_R_32F;
	cublasComputeType_t compute =
		self->precision == D2V_PRECISION_TF32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
	cublasOperation_t left = op->trans_b ? CUBLAS_OP_T : CUBLAS_OP_N, right = op->trans_a ? CUBLAS_OP_T : CUBLAS_OP_N;
	cublasLtEpilogue_t epilogue = op->bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
	return check(dev, cublasLtMatmulDescCreate(&p->what, compute, CUDA_R_32F), "description") &&
		check(dev, cublasLtMatmulDescSetAttribute(p->what, CUBLASLT_MATMUL_DESC_TRANSA, &left, sizeof left), "left operand") &&
		check(dev, cublasLtMatmulDescSetAttribute(p->what, CUBLASLT_MATMUL_DESC_TRANSB, &right, sizeof right),
			"right operand") &&
		check(dev, cublasLtMatmulDescSetAttribute(p->what, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue),
			"epilogue") &&
		make_layout(dev, &p->left, working, op->trans_b ? op->k : op->n, op->trans_b ? op->n : op->k) &&
		make_layout(dev, &p->right, working, op->trans_a ? op->m : op->k, op->trans_a ? op->k : op->m) &&
		make_layout(dev, &p->result, op->float_out ? CUDA_R_32F : working, op->n, op->m);
}

// The bias's address belongs to the description, so it is set for every call.
static bool set_bias(d2v_device *dev, const d2v_cuda_product *op, const plan *p) {
	return !op->bias ||
		check(dev, cublasLtMatmulDescSetAttribute(p->what, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &op->bias, sizeof op->bias),
			"bias");
}

static int attribute(const cublasLtMatmulAlgo_t *algorithm, cublasLtMatmulAlgoConfigAttributes_t name) {
	// Two of them are of two bytes, the others of four.
	bool two = name == CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID || name == CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID;
	uint32_t value = 0;
	size_t written;
	cublasStatus_t status = cublasLtMatmulAlgoConfigGetAttribute(
		algorithm, name, &value, two ? sizeof(uint16_t) : sizeof value, &written);
	return status == CUBLAS_STATUS_SUCCESS ? (int)value : 0;
}

// Which of the proposals to take: the first, but for wide products over few terms. There the time goes into writing results,
// and kernels whose tiles are small enough that two are under way, one being summed while the other is written, are up to
// a quarter faster than what cuBLASLt puts first (bench_choices, version 13 on an H200; custom option 1 tells them from
// those whose warps share one tile). It follows from the shape alone.
static int prefer(const product_key *key, const cublasLtMatmulHeuristicResult_t *found, int count) {
	if (key->float_out || (key->k > 2304 && !key->accumulate))
		return 0;
	for (int i = 0; i < count; i++) {
		int tile = attribute(&found[i].algo, CUBLASLT_ALGO_CONFIG_TILE_ID);
		if (attribute(&found[i].algo, CUBLASLT_ALGO_CONFIG_ID) == attribute(&found[0].algo, CUBLASLT_ALGO_CONFIG_ID) &&
			attribute(&found[i].algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM) <= 1 &&
			attribute(&found[i].algo, CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION) == 1 &&
			(tile == CUBLASLT_MATMUL_TILE_128x160 || tile == CUBLASLT_MATMUL_TILE_128x128))
			return i;
	}
	return 0;
}

// Not the reduction in place: it adds with atomics, so that results would differ between runs.
static bool choose(d2v_device *dev, const struct d2v_cuda_products *self, plan *p) {
	cublasLtMatmulPreference_t wish = NULL;
	cublasLtMatmulHeuristicResult_t found[CANDIDATES];
	uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
	size_t workspace = WORKSPACE;
	int count = 0;
	bool fine = check(dev, cublasLtMatmulPreferenceCreate(&wish), "preference") &&
		check(dev,
			cublasLtMatmulPreferenceSetAttribute(
				wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace),
			"workspace") &&
		check(dev,
			cublasLtMatmulPreferenceSetAttribute(
				wish, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reductions, sizeof reductions),
			"reductions") &&
		check(dev,
			cublasLtMatmulAlgoGetHeuristic(
				self->handle, p->what, p->left, p->right, p->result, p->result, wish, CANDIDATES, found, &count),
			"choosing an algorithm");
	if (wish)
		cublasLtMatmulPreferenceDestroy(wish);
	if (fine && count == 0)
		fine = check(dev, CUBLAS_STATUS_NOT_SUPPORTED, "choosing an algorithm");
	p->missing = p->key.candidate > count;
	if (fine && !p->missing) {
		int number = p->key.candidate ? p->key.candidate - 1 : prefer(&p->key, found, count);
		const cublasLtMatmulHeuristicResult_t *chosen = &found[number];
		p->how = chosen->algo, p->waves = chosen->wavesCount, p->workspace = chosen->workspaceSize;
	}
	return fine;
}

// ---- keeping plans

static plan *place_for(plan *plans, size_t capacity, const product_key *key) {
	size_t at = (size_t)d2v_hash64(key, sizeof *key) % capacity;
	while (plans[at].key.m && memcmp(&plans[at].key, key, sizeof *key) != 0)
		at = (at + 1) % capacity;
	return &plans[at];
}

static bool grow(d2v_device *dev, struct d2v_cuda_products *self) {
	size_t capacity = self->capacity ? 2 * self->capacity : 128;
	plan *plans;
	d2v_error err = { 0 };
	if (d2v_alloc_zero(&plans, capacity, sizeof *plans, &err) != D2V_OK) {
		d2v_device_set_error(dev, err.status, "plans of products: %s", err.text);
		return false;
	}
	for (size_t i = 0; i < self->capacity; i++)
		if (self->plans[i].key.m)
			*place_for(plans, capacity, &self->plans[i].key) = self->plans[i];
	d2v_free(self->plans);
	self->plans = plans;
	self->capacity = capacity;
	return true;
}

// NULL: the device has the error.
static const plan *find_plan(d2v_device *dev, struct d2v_cuda_products *self, const d2v_cuda_product *op) {
	product_key key = { .m = op->m, .n = op->n, .k = op->k, .trans_a = op->trans_a, .trans_b = op->trans_b };
	key.float_out = op->float_out;
	key.accumulate = op->accumulate;
	key.bias = op->bias != NULL;
	key.candidate = op->candidate;
	if (2 * self->count >= self->capacity && !grow(dev, self))
		return NULL;
	plan *p = place_for(self->plans, self->capacity, &key);
	if (p->key.m)
		return p;
	plan made = { .key = key };
	if (!describe(dev, self, op, &made) || !set_bias(dev, op, &made) || !choose(dev, self, &made)) {
		release_plan(&made);
		return NULL;
	}
	self->count++;
	*p = made;
	return p;
}

// Nothing to sum: the result is the bias, or what was there.
static void multiply_nothing(d2v_device *dev, const d2v_cuda_product *op) {
	size_t element = op->float_out ? sizeof(float) : dev->real_size, row = (size_t)op->n * element;
	for (int64_t i = 0; i < op->m && op->bias; i++)
		dev->backend->copy(dev, (char *)op->c + (size_t)i * row, op->bias, row);
	if (!op->bias && !op->accumulate)
		dev->backend->zero(dev, op->c, (size_t)op->m * row);
}

void d2v_cuda_multiply(d2v_device *dev, const d2v_cuda_product *op) {
	struct d2v_cuda_products *self = d2v_cuda_of(dev)->products;
	if (op->m == 0 || op->n == 0)
		return;
	if (op->k == 0) {
		multiply_nothing(dev, op);
		return;
	}
	const plan *p = find_plan(dev, self, op);
	if (!p || p->missing || !set_bias(dev, op, p))
		return;
	float one = 1, before = op->accumulate ? 1 : 0;
	check(dev,
		cublasLtMatmul(self->handle, p->what, &one, op->b, p->left, op->a, p->right, &before, op->c, p->result, op->c,
			p->result, &p->how, self->workspace, WORKSPACE, self->stream),
		"product");
}

bool d2v_cuda_product_algorithm(d2v_device *dev, const d2v_cuda_product *op, d2v_cuda_algorithm *out) {
	const plan *p = find_plan(dev, d2v_cuda_of(dev)->products, op);
	if (!p || p->missing)
		return false;
	*out = (d2v_cuda_algorithm){
		.id = attribute(&p->how, CUBLASLT_ALGO_CONFIG_ID),
		.tile = attribute(&p->how, CUBLASLT_ALGO_CONFIG_TILE_ID),
		.stages = attribute(&p->how, CUBLASLT_ALGO_CONFIG_STAGES_ID),
		.inner_shape = attribute(&p->how, CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID),
		.cluster = attribute(&p->how, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID),
		.split_k = attribute(&p->how, CUBLASLT_ALGO_CONFIG_SPLITK_NUM),
		.reduction = attribute(&p->how, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME),
		.swizzle = attribute(&p->how, CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING),
		.custom = attribute(&p->how, CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION),
		.waves = p->waves,
		.workspace = p->workspace,
	};
	return true;
}
