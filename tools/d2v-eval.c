// d2v-eval: what an encoder has learnt. Each subcommand is a row here.
#include "base/log.h"
#include "tools/eval_classify.h"
#include "tools/thread_waiting.h"

int main(int argc, char **argv) {
	static const d2v_subcommand table[] = {
		{ &eval_knn_command, eval_knn_run },
		{ &eval_probe_command, eval_probe_run },
		{ 0 },
	};
	thread_waiting_choose(argv);
	d2v_log_set_program("d2v-eval");
	return d2v_options_dispatch("d2v-eval", "see what an encoder has learnt", table, argc, argv);
}
