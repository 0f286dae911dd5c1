// Streams, events and graphs of the emulated runtime.
//
// A stream keeps what it is asked for and does it when somebody waits: as late as CUDA allows, so that what was
// forgotten to be waited for is not there yet. With D2V_EMULATED_COPIES=early an upload that nothing of its stream comes
// before is done at once, as early as CUDA allows: so that what it overwrites too soon is gone. Arguments are kept by value;
// pinned host memory is read when its turn comes, pageable memory at once, as CUDA does.
//
// A graph is the list of what a stream was asked for while it was captured. An executable graph can be given the list of
// another one that has the same kinds of work in the same order. It may not be changed or destroyed while a launch of it waits,
// which is more than CUDA asks.
#include <cuda_runtime.h>

#include <deque>
#include <memory>
#include <stdio.h>
#include <stdlib.h>
#include <vector>

namespace {

struct Work {
	d2v_emulated_kind kind;
	std::function<void()> run;
};

[[noreturn]] void die(const char *why) {
	fprintf(stderr, "emulation: %s\n", why);
	abort();
}

} // namespace

struct d2v_emulated_graph {
	std::vector<Work> work;
};

struct d2v_emulated_exec {
	std::vector<Work> work;
	std::shared_ptr<int> waiting = std::make_shared<int>(0); // launches not done yet
};

struct d2v_emulated_event {
	cudaStream_t stream = nullptr;
	size_t asked = 0, done = 0;
};

struct d2v_emulated_stream {
	std::deque<Work> queue;
	std::unique_ptr<d2v_emulated_graph> captured; // being captured
	bool spoilt = false;                          // the capture was broken
};

namespace {

std::vector<cudaStream_t> streams;

void run_one(cudaStream_t stream) {
	if (stream->queue.empty())
		die("something is waited for that was never asked for");
	Work work = std::move(stream->queue.front());
	stream->queue.pop_front();
	work.run();
}

void drain(cudaStream_t stream) {
	while (!stream->queue.empty())
		run_one(stream);
}

bool same_kinds(const std::vector<Work> &a, const std::vector<Work> &b) {
	if (a.size() != b.size())
		return false;
	for (size_t i = 0; i < a.size(); i++)
		if (a[i].kind != b[i].kind)
			return false;
	return true;
}

bool is_set(const char *name, const char *value) {
	const char *set = getenv(name);
	return set && strcmp(set, value) == 0;
}

} // namespace

void d2v_emulate_enqueue(cudaStream_t stream, d2v_emulated_kind kind, std::function<void()> run) {
	if (stream->captured)
		stream->captured->work.push_back(Work{ kind, std::move(run) });
	else if (kind == D2V_EMULATED_UPLOAD && stream->queue.empty() && is_set("D2V_EMULATED_COPIES", "early"))
		run();
	else
		stream->queue.push_back(Work{ kind, std::move(run) });
}

void d2v_emulate_wait_for_all(void) {
	for (cudaStream_t stream : streams)
		drain(stream);
}

extern "C" {

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
	streams.push_back(*stream = new d2v_emulated_stream);
	return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
	if (stream->captured) {
		stream->spoilt = true;
		return cudaErrorStreamCaptureUnsupported;
	}
	drain(stream);
	return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
	drain(stream);
	for (size_t i = 0; i < streams.size(); i++)
		if (streams[i] == stream)
			streams.erase(streams.begin() + (long)i);
	delete stream;
	return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
	*event = new d2v_emulated_event;
	return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
	d2v_emulate_wait_for_all();
	delete event;
	return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
	size_t number = ++event->asked;
	event->stream = stream;
	d2v_emulate_enqueue(stream, D2V_EMULATED_EVENT, [=] { event->done = number; });
	return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
	size_t number = event->asked;
	cudaStream_t other = event->stream;
	d2v_emulate_enqueue(stream, D2V_EMULATED_WAIT, [=] {
		while (event->done < number)
			run_one(other);
	});
	return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode) {
	if (stream->captured)
		return cudaErrorStreamCaptureUnsupported;
	stream->captured = std::make_unique<d2v_emulated_graph>();
	stream->spoilt = false;
	return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
	*graph = stream->captured.release();
	if (!stream->spoilt && !is_set("D2V_EMULATED_CAPTURE", "fails"))
		return cudaSuccess;
	delete *graph;
	*graph = nullptr;
	return cudaErrorStreamCaptureInvalidated;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
	delete graph;
	return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long) {
	*exec = new d2v_emulated_exec;
	(*exec)->work = graph->work;
	return cudaSuccess;
}
cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph, cudaGraphExecUpdateResultInfo *info) {
	if (*exec->waiting)
		die("a graph is changed that may be running");
	*info = cudaGraphExecUpdateResultInfo{};
	if (!same_kinds(exec->work, graph->work))
		return cudaErrorGraphExecUpdateFailure;
	exec->work = graph->work;
	return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
	if (*exec->waiting)
		die("a graph is destroyed that may be running");
	delete exec;
	return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
	std::vector<Work> work = exec->work;
	std::shared_ptr<int> waiting = exec->waiting;
	++*waiting;
	d2v_emulate_enqueue(stream, D2V_EMULATED_GRAPH, [=] {
		for (const Work &one : work)
			one.run();
		--*waiting;
	});
	return cudaSuccess;
}

} // extern "C"
