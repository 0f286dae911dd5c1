// d2v-shard: looks into data sets. Each subcommand is a file tools/shard_NAME.c; this is the table.
#include "base/log.h"
#include "tools/shard_bench.h"
#include "tools/shard_export.h"
#include "tools/shard_gallery.h"
#include "tools/shard_ls.h"
#include "tools/shard_merge.h"
#include "tools/shard_show.h"
#include "tools/shard_stat.h"
#include "tools/shard_verify.h"

int main(int argc, char **argv) {
	static const d2v_subcommand table[] = {
		{ &shard_ls_command, shard_ls_run },
		{ &shard_stat_command, shard_stat_run },
		{ &shard_show_command, shard_show_run },
		{ &shard_verify_command, shard_verify_run },
		{ &shard_gallery_command, shard_gallery_run },
		{ &shard_export_command, shard_export_run },
		{ &shard_merge_command, shard_merge_run },
		{ &shard_bench_command, shard_bench_run },
		{ 0 },
	};
	d2v_log_set_program("d2v-shard");
	return d2v_options_dispatch(
		"d2v-shard", "look inside data sets of shards, check them, take things out, time them", table, argc, argv);
}
