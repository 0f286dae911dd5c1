// Arbitrary bytes as a safetensors file: refused, or every tensor's bytes can be read.
#include "train/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
	d2v_safetensors *file;
	d2v_error err;
	if (d2v_safetensors_parse(&file, bytes, size, "input", &err) != D2V_OK)
		return 0;
	volatile unsigned sum = 0;
	for (int i = 0; i < d2v_safetensors_count(file); i++) {
		const d2v_tensor_info *tensor = d2v_safetensors_at(file, i);
		D2V_ASSERT(tensor->size == tensor->count * d2v_dtype_size(tensor->dtype));
		for (uint64_t k = 0; k < tensor->size; k++)
			sum += ((const unsigned char *)tensor->data)[k];
	}
	d2v_safetensors_metadata(file, "format");
	d2v_safetensors_close(file);
	return 0;
}
