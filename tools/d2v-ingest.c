// d2v-ingest: archives, folders and addresses into a data set of shards. The subcommands are in tools/ingest_*.c.
#include "base/memory.h"
#include "tools/ingest_program.h"

int main(int argc, char **argv) {
	static const d2v_subcommand table[] = {
		{ &ingest_librispeech_command, ingest_librispeech },
		{ &ingest_imagenet_command, ingest_imagenet },
		{ &ingest_audio_command, ingest_audio },
		{ &ingest_images_command, ingest_images },
		{ &ingest_openwebtext_command, ingest_openwebtext },
		{ &ingest_text_command, ingest_text },
		{ 0 },
	};
	d2v_memory_keep_freed();
	return d2v_options_dispatch(
		"d2v-ingest", "archives, folders and addresses into a data set of shards", table, argc, argv);
}
