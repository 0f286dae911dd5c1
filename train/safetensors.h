// The safetensors format: u64 header length, JSON header (padded with spaces to 8 bytes), raw little-endian tensors.
// Specification: huggingface/safetensors README. Reading maps the file; hostile headers (overlaps, gaps beyond the file, wrong sizes,
// duplicate names, depth bombs) are refused. Writing is deterministic: same tensors and metadata, same bytes.
#ifndef D2V_TRAIN_SAFETENSORS_H
#define D2V_TRAIN_SAFETENSORS_H

#include "base/error.h"

#include <stdint.h>

typedef enum d2v_dtype { D2V_F32, D2V_F64, D2V_F16, D2V_BF16, D2V_I64, D2V_I32, D2V_I16, D2V_I8, D2V_U8, D2V_BOOL, D2V_U16, D2V_U32, D2V_U64 } d2v_dtype;
size_t d2v_dtype_size(d2v_dtype dtype);

#define D2V_TENSOR_RANK 8
typedef struct d2v_tensor_info {
	const char *name; // borrowed from the file object
	d2v_dtype dtype;
	int rank;
	int64_t shape[D2V_TENSOR_RANK];
	uint64_t count; // elements
	const void *data; // borrowed from the file object; aligned for its type
	uint64_t size;    // bytes
} d2v_tensor_info;

typedef struct d2v_safetensors d2v_safetensors;
d2v_status d2v_safetensors_open(d2v_safetensors **file, const char *path, d2v_error *err);
// The same over bytes in memory (borrowed), for fuzzing.
d2v_status d2v_safetensors_parse(d2v_safetensors **file, const void *bytes, size_t size, const char *where, d2v_error *err);
void d2v_safetensors_close(d2v_safetensors *file);
int d2v_safetensors_count(const d2v_safetensors *file);
const d2v_tensor_info *d2v_safetensors_at(const d2v_safetensors *file, int index); // in the header's order
const d2v_tensor_info *d2v_safetensors_find(const d2v_safetensors *file, const char *name); // NULL: not there
const char *d2v_safetensors_metadata(const d2v_safetensors *file, const char *key); // NULL: not there

typedef struct d2v_safetensors_tensor { // what to write
	const char *name;
	d2v_dtype dtype;
	int rank;
	int64_t shape[D2V_TENSOR_RANK];
	const void *data;
} d2v_safetensors_tensor;
// Published as d2v_file_replace does. metadata: key, value pairs, ends with NULL. Tensors are written in the order given.
d2v_status d2v_safetensors_save(const char *path, const d2v_safetensors_tensor *tensors, int count, const char *const *metadata, d2v_error *err);

#endif
