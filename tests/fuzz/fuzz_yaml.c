// Arbitrary bytes as a configuration: refused in words, or read, printed, and read back as the same.
#include "base/memory.h"
#include "train/config.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check_round_trip(const d2v_config *config) {
	static d2v_config again;
	d2v_error err;
	char *text, *text_again;
	D2V_ASSERT(d2v_config_print(config, &text, &err) == D2V_OK);
	D2V_ASSERT(d2v_config_defaults(&again, &err) == D2V_OK);
	D2V_ASSERT(d2v_config_read_yaml(&again, text, strlen(text), "printed", &err) == D2V_OK);
	D2V_ASSERT(d2v_config_print(&again, &text_again, &err) == D2V_OK);
	D2V_ASSERT(strcmp(text, text_again) == 0);
	d2v_free(text);
	d2v_free(text_again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
	static d2v_config config;
	d2v_error err;
	json_t *tree;
	if (d2v_yaml_parse((const char *)bytes, size, "input", &tree, &err) != D2V_OK)
		return 0;
	json_decref(tree);
	D2V_ASSERT(d2v_config_defaults(&config, &err) == D2V_OK);
	if (d2v_config_read_yaml(&config, (const char *)bytes, size, "input", &err) != D2V_OK)
		return 0;
	(void)d2v_config_resolve(&config, &err);
	check_round_trip(&config);
	return 0;
}
