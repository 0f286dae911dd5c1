// The main of a fuzzer outside libFuzzer: feeds it every file of the folders given, so that found inputs are replayed for ever.
#include "base/file.h"
#include "base/memory.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static d2v_status replay_file(const char *folder, const char *name, d2v_error *err) {
	char *path = NULL;
	void *bytes = NULL;
	size_t size = 0;
	d2v_status status = d2v_path_join(&path, folder, name, err);
	if (status == D2V_OK)
		status = d2v_file_read(path, 64u << 20, &bytes, &size, err);
	if (status == D2V_OK) {
		printf("%s (%zu bytes)\n", path, size);
		fflush(stdout); // so that the name is there when the input crashes us
		LLVMFuzzerTestOneInput(bytes, size);
	}
	d2v_free(bytes);
	d2v_free(path);
	return status;
}

static d2v_status replay_folder(const char *folder, size_t *files, d2v_error *err) {
	char **names = NULL;
	size_t count = 0;
	D2V_TRY(d2v_file_list(folder, &names, &count, err));
	d2v_status status = D2V_OK;
	for (size_t k = 0; k < count && status == D2V_OK; k++)
		status = replay_file(folder, names[k], err);
	d2v_file_names_free(names, count);
	*files += count;
	return status;
}

int main(int argc, char **argv) {
	d2v_error err = {0};
	size_t files = 0;
	for (int i = 1; i < argc; i++) {
		if (replay_folder(argv[i], &files, &err) != D2V_OK) {
			fprintf(stderr, "%s\n", err.text);
			return 1;
		}
	}
	if (files == 0)
		fprintf(stderr, "no inputs to replay: give folders of inputs\n");
	return files == 0;
}
