// d2v-shard: looks into data sets. Each subcommand is a file tools/shard_NAME.c; this is the table.
#include "tools/shard_bench.h"

int main(int argc, char **argv) {
	static const d2v_subcommand table[] = {
		{ &shard_bench_command, shard_bench_run },
		{ 0 },
	};
	return d2v_options_dispatch(
		"d2v-shard", "look inside data sets of shards, check them, take things out, time them", table, argc, argv);
}
