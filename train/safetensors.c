#include "train/safetensors.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// The format's own bound on the header (100 MB in the reference implementation).
#define HEADER_MAX (100u << 20)

static const struct {
	const char *name;
	size_t size;
} dtypes[] = {
	[D2V_F32] = { "F32", 4 },
	[D2V_F64] = { "F64", 8 },
	[D2V_F16] = { "F16", 2 },
	[D2V_BF16] = { "BF16", 2 },
	[D2V_I64] = { "I64", 8 },
	[D2V_I32] = { "I32", 4 },
	[D2V_I16] = { "I16", 2 },
	[D2V_I8] = { "I8", 1 },
	[D2V_U8] = { "U8", 1 },
	[D2V_BOOL] = { "BOOL", 1 },
	[D2V_U16] = { "U16", 2 },
	[D2V_U32] = { "U32", 4 },
	[D2V_U64] = { "U64", 8 },
};
#define DTYPES ((int)(sizeof dtypes / sizeof dtypes[0]))

struct d2v_safetensors {
	json_t *header; // owns the names and the metadata
	d2v_tensor_info *tensors;
	void **copies; // of the tensors that lie misaligned in the file; NULL where one does not
	int count;
	const unsigned char *data; // after the header
	uint64_t data_size;
	void *map; // NULL when the bytes are the caller's
	size_t map_size;
};

size_t d2v_dtype_size(d2v_dtype dtype) {
	return dtypes[dtype].size;
}

static d2v_status dtype_from_name(
	const char *name, const char *where, const char *tensor, d2v_dtype *dtype, d2v_error *err) {
	for (int i = 0; i < DTYPES; i++) {
		if (strcmp(dtypes[i].name, name) == 0) {
			*dtype = (d2v_dtype)i;
			return D2V_OK;
		}
	}
	return d2v_fail(err, D2V_UNSUPPORTED, "%s: tensor %s: element type %s is not known", where, tensor, name);
}

// One integer of a shape or of data_offsets.
static bool small_integer(const json_t *value, uint64_t max, uint64_t *out) {
	if (!json_is_integer(value) || json_integer_value(value) < 0 || (uint64_t)json_integer_value(value) > max)
		return false;
	*out = (uint64_t)json_integer_value(value);
	return true;
}

static d2v_status read_shape(const json_t *array, const char *where, d2v_tensor_info *tensor, d2v_error *err) {
	if (json_array_size(array) > D2V_TENSOR_RANK)
		return d2v_fail(
			err, D2V_UNSUPPORTED, "%s: tensor %s has more than %d dimensions", where, tensor->name, D2V_TENSOR_RANK);
	tensor->rank = (int)json_array_size(array);
	size_t count = 1;
	for (int i = 0; i < tensor->rank; i++) {
		uint64_t extent;
		if (!small_integer(json_array_get(array, (size_t)i), INT64_MAX, &extent) ||
			!d2v_mul_fits(count, extent, &count))
			return d2v_fail(
				err, D2V_CORRUPT, "%s: tensor %s: its shape is no list of sizes that fit", where, tensor->name);
		tensor->shape[i] = (int64_t)extent;
	}
	tensor->count = count;
	return D2V_OK;
}

static d2v_status read_tensor(
	d2v_safetensors *file, const char *where, const char *name, json_t *entry, d2v_error *err) {
	d2v_tensor_info *tensor = &file->tensors[file->count];
	*tensor = (d2v_tensor_info){ .name = name };
	const char *dtype;
	json_t *shape, *offsets;
	if (!json_is_object(entry) || json_object_size(entry) != 3)
		return d2v_fail(
			err, D2V_CORRUPT, "%s: tensor %s is not described by dtype, shape and data_offsets", where, name);
	D2V_TRY(d2v_json_get_string(entry, "dtype", where, &dtype, err));
	D2V_TRY(d2v_json_get_array(entry, "shape", where, &shape, err));
	D2V_TRY(d2v_json_get_array(entry, "data_offsets", where, &offsets, err));
	D2V_TRY(dtype_from_name(dtype, where, name, &tensor->dtype, err));
	D2V_TRY(read_shape(shape, where, tensor, err));

	uint64_t begin, end;
	size_t size;
	if (json_array_size(offsets) != 2 || !small_integer(json_array_get(offsets, 0), file->data_size, &begin) ||
		!small_integer(json_array_get(offsets, 1), file->data_size, &end) || begin > end)
		return d2v_fail(
			err, D2V_CORRUPT, "%s: tensor %s lies outside the file: it is cut short or damaged", where, name);
	if (!d2v_mul_fits(tensor->count, dtypes[tensor->dtype].size, &size) || size != end - begin)
		return d2v_fail(err, D2V_CORRUPT, "%s: tensor %s: shape and data_offsets disagree", where, name);
	tensor->size = end - begin;
	tensor->data = file->data + begin;
	file->count++;
	return D2V_OK;
}

static int by_place(const void *a, const void *b) {
	const d2v_tensor_info *x = *(const d2v_tensor_info *const *)a, *y = *(const d2v_tensor_info *const *)b;
	uintptr_t p = (uintptr_t)x->data, q = (uintptr_t)y->data;
	if (p != q)
		return p < q ? -1 : 1;
	return (x->size > y->size) - (x->size < y->size);
}

// The tensors must cover the data exactly: no overlap, no hole, nothing after the last.
static d2v_status check_cover(const d2v_safetensors *file, const char *where, d2v_error *err) {
	const d2v_tensor_info **order = NULL;
	D2V_TRY(d2v_alloc(&order, (size_t)file->count, sizeof *order, err));
	for (int i = 0; i < file->count; i++)
		order[i] = &file->tensors[i];
	qsort(order, (size_t)file->count, sizeof *order, by_place);
	const unsigned char *next = file->data;
	d2v_status status = D2V_OK;
	for (int i = 0; i < file->count && status == D2V_OK; i++) {
		if (order[i]->data != next)
			status =
				d2v_fail(err, D2V_CORRUPT, "%s: tensor %s overlaps another or leaves a hole", where, order[i]->name);
		next += order[i]->size;
	}
	if (status == D2V_OK && next != file->data + file->data_size)
		status = d2v_fail(err, D2V_CORRUPT, "%s: %llu bytes follow the last tensor", where,
			(unsigned long long)(file->data + file->data_size - next));
	d2v_free(order);
	return status;
}

// The format puts tensors back to back, so one may lie where its type must not be read: such a one is copied.
static d2v_status align_tensors(d2v_safetensors *file, d2v_error *err) {
	D2V_TRY(d2v_alloc_zero(&file->copies, (size_t)file->count + 1, sizeof *file->copies, err));
	for (int i = 0; i < file->count; i++) {
		d2v_tensor_info *tensor = &file->tensors[i];
		if ((uintptr_t)tensor->data % dtypes[tensor->dtype].size == 0)
			continue;
		D2V_TRY(d2v_alloc(&file->copies[i], tensor->size, 1, err));
		memcpy(file->copies[i], tensor->data, tensor->size);
		tensor->data = file->copies[i];
	}
	return D2V_OK;
}

static d2v_status check_metadata(json_t *metadata, const char *where, d2v_error *err) {
	const char *key;
	json_t *value;
	if (!json_is_object(metadata))
		return d2v_fail(err, D2V_CORRUPT, "%s: __metadata__ is no object", where);
	json_object_foreach(metadata, key, value) {
		if (!json_is_string(value))
			return d2v_fail(err, D2V_CORRUPT, "%s: __metadata__: %s is no text", where, key);
	}
	return D2V_OK;
}

static d2v_status read_header(d2v_safetensors *file, const char *where, d2v_error *err) {
	const char *name;
	json_t *entry;
	D2V_TRY(d2v_alloc_zero(&file->tensors, json_object_size(file->header) + 1, sizeof *file->tensors, err));
	json_object_foreach(file->header, name, entry) {
		if (strcmp(name, "__metadata__") == 0)
			D2V_TRY(check_metadata(entry, where, err));
		else
			D2V_TRY(read_tensor(file, where, name, entry, err));
	}
	D2V_TRY(check_cover(file, where, err));
	return align_tensors(file, err);
}

static uint64_t little_u64(const unsigned char *bytes) {
	uint64_t value = 0;
	for (int i = 7; i >= 0; i--)
		value = value << 8 | bytes[i];
	return value;
}

d2v_status d2v_safetensors_parse(
	d2v_safetensors **out, const void *bytes, size_t size, const char *where, d2v_error *err) {
	*out = NULL;
	if (size < 8)
		return d2v_fail(err, D2V_CORRUPT, "%s: too short for a safetensors file (%zu bytes)", where, size);
	uint64_t header_size = little_u64(bytes);
	if (header_size > size - 8 || header_size > HEADER_MAX)
		return d2v_fail(err, D2V_CORRUPT,
			"%s: its header is said to have %llu bytes: cut short, or no safetensors file", where,
			(unsigned long long)header_size);

	d2v_safetensors *file = NULL;
	D2V_TRY(d2v_alloc_zero(&file, 1, sizeof *file, err));
	file->data = (const unsigned char *)bytes + 8 + header_size;
	file->data_size = size - 8 - header_size;
	d2v_status status = d2v_json_parse((const char *)bytes + 8, header_size, where, &file->header, err);
	if (status == D2V_OK && !json_is_object(file->header))
		status = d2v_fail(err, D2V_CORRUPT, "%s: its header is no JSON object", where);
	if (status == D2V_OK)
		status = read_header(file, where, err);
	if (status == D2V_INVALID) // a wrong setting elsewhere
		status = d2v_error_suffix(err, D2V_CORRUPT, "; it is damaged");
	if (status != D2V_OK) {
		d2v_safetensors_close(file);
		return status;
	}
	*out = file;
	return D2V_OK;
}

// Maps a whole regular file. *map is NULL for an empty one.
static d2v_status map_file(const char *path, void **map, size_t *size, d2v_error *err) {
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	d2v_status status = D2V_OK;
	*map = NULL;
	if (fd < 0)
		return d2v_fail_errno(err, "%s", path);
	if (fstat(fd, &st) != 0)
		status = d2v_fail_errno(err, "%s", path);
	else if (!S_ISREG(st.st_mode))
		status = d2v_fail(err, D2V_INVALID, "%s: not a regular file", path);
	else if ((*size = (size_t)st.st_size) > 0) {
		*map = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (*map == MAP_FAILED) {
			status = d2v_fail_errno(err, "%s: mapping it failed", path);
			*map = NULL;
		}
	}
	close(fd);
	return status;
}

d2v_status d2v_safetensors_open(d2v_safetensors **out, const char *path, d2v_error *err) {
	void *map;
	size_t size = 0;
	*out = NULL;
	D2V_TRY(map_file(path, &map, &size, err));
	d2v_status status = d2v_safetensors_parse(out, map ? map : "", size, path, err);
	if (status != D2V_OK) {
		if (map)
			munmap(map, size);
		return status;
	}
	(*out)->map = map;
	(*out)->map_size = size;
	return D2V_OK;
}

void d2v_safetensors_close(d2v_safetensors *file) {
	if (!file)
		return;
	if (file->map)
		munmap(file->map, file->map_size);
	for (int i = 0; file->copies && i < file->count; i++)
		d2v_free(file->copies[i]);
	json_decref(file->header);
	d2v_free(file->copies);
	d2v_free(file->tensors);
	d2v_free(file);
}

int d2v_safetensors_count(const d2v_safetensors *file) {
	return file->count;
}

const d2v_tensor_info *d2v_safetensors_at(const d2v_safetensors *file, int index) {
	D2V_ASSERT(index >= 0 && index < file->count);
	return &file->tensors[index];
}

const d2v_tensor_info *d2v_safetensors_find(const d2v_safetensors *file, const char *name) {
	for (int i = 0; i < file->count; i++)
		if (strcmp(file->tensors[i].name, name) == 0)
			return &file->tensors[i];
	return NULL;
}

const char *d2v_safetensors_metadata(const d2v_safetensors *file, const char *key) {
	return json_string_value(json_object_get(json_object_get(file->header, "__metadata__"), key));
}

// ---- writing

static uint64_t tensor_bytes(const d2v_safetensors_tensor *tensor) {
	size_t bytes = dtypes[tensor->dtype].size;
	for (int i = 0; i < tensor->rank; i++)
		D2V_ASSERT(tensor->shape[i] >= 0 && d2v_mul_fits(bytes, (size_t)tensor->shape[i], &bytes));
	return bytes;
}

static json_t *tensor_entry(const d2v_safetensors_tensor *tensor, uint64_t begin) {
	json_t *shape = json_array();
	for (int i = 0; i < tensor->rank; i++)
		json_array_append_new(shape, json_integer(tensor->shape[i]));
	// "o" steals the reference, also when packing fails.
	return json_pack("{s:s, s:o, s:[I,I]}", "dtype", dtypes[tensor->dtype].name, "shape", shape, "data_offsets",
		(json_int_t)begin, (json_int_t)(begin + tensor_bytes(tensor)));
}

// The header's text without its padding: keys in the order of insertion, so that equal calls give equal bytes.
static d2v_status header_text(
	const d2v_safetensors_tensor *tensors, int count, const char *const *metadata, char **text, d2v_error *err) {
	json_t *root = json_object();
	d2v_status status = D2V_OK;
	uint64_t begin = 0;
	if (metadata && metadata[0]) {
		json_t *object = json_object();
		for (int i = 0; metadata[i] && status == D2V_OK; i += 2)
			status = d2v_json_set(object, metadata[i], json_string(metadata[i + 1]), err);
		if (status == D2V_OK)
			status = d2v_json_set(root, "__metadata__", object, err);
		else
			json_decref(object);
	}
	for (int i = 0; i < count && status == D2V_OK; i++) {
		D2V_ASSERT(!json_object_get(root, tensors[i].name));
		status = d2v_json_set(root, tensors[i].name, tensor_entry(&tensors[i], begin), err);
		begin += tensor_bytes(&tensors[i]);
	}
	*text = NULL;
	if (status == D2V_OK) {
		*text = json_dumps(root, JSON_COMPACT);
		if (!*text)
			status = d2v_fail(err, D2V_NO_MEMORY, "no memory for the header of a safetensors file");
	}
	json_decref(root);
	return status;
}

static d2v_status write_header(d2v_file_out *out, const char *text, d2v_error *err) {
	size_t length = strlen(text), padded = (length + 7) / 8 * 8;
	unsigned char prefix[8];
	for (int i = 0; i < 8; i++)
		prefix[i] = (unsigned char)((uint64_t)padded >> (8 * i));
	D2V_TRY(d2v_file_write(out, prefix, sizeof prefix, err));
	D2V_TRY(d2v_file_write(out, text, length, err));
	return d2v_file_write(out, "        ", padded - length, err);
}

d2v_status d2v_safetensors_save(
	const char *path, const d2v_safetensors_tensor *tensors, int count, const char *const *metadata, d2v_error *err) {
	char *text = NULL;
	d2v_file_out *out = NULL;
	D2V_TRY(header_text(tensors, count, metadata, &text, err));
	d2v_status status = d2v_file_begin(&out, path, err);
	if (status == D2V_OK)
		status = write_header(out, text, err);
	for (int i = 0; i < count && status == D2V_OK; i++)
		status = d2v_file_write(out, tensors[i].data, tensor_bytes(&tensors[i]), err);
	d2v_free(text);
	if (status != D2V_OK) {
		d2v_file_abandon(out);
		return status;
	}
	return d2v_file_commit(out, err);
}
