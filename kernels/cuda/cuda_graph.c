// CUDA graphs of whole steps (kernels/device.h).
//
// Much of a step changes by value from one to the next (keys of random draws, counts of masked positions), and layer drop changes
// which operations there are. So nothing is replayed: every step is captured, and the executable graph of its shape is given the
// new arguments, or made anew where the list of operations is another one. That takes the host about as long as asking for the
// operations one by one, which is why it is done for the next step while a step runs.
//
// A shape has two executable graphs that take turns: the one of the last step may be running, and is left alone. Those of the
// shape that was not met for longest make room for another one's.
#include "base/log.h"
#include "base/memory.h"
#include "kernels/cuda/cuda.h"

#define SHAPES 8 // kept at a time

typedef struct shape_graphs {
	uint64_t shape, met; // met: when, 0: a free place
	cudaGraphExec_t exec[2];
	int turn;
} shape_graphs;

struct d2v_cuda_graphs {
	shape_graphs shapes[SHAPES];
	uint64_t clock;
	shape_graphs *open;   // being captured
	cudaGraphExec_t kept; // to be launched; belongs to shapes
};

d2v_status d2v_cuda_graphs_new(struct d2v_cuda_graphs **graphs, d2v_error *err) {
	return d2v_alloc_zero(graphs, 1, sizeof **graphs, err);
}

static void release_shape(shape_graphs *shape) {
	for (int i = 0; i < 2; i++)
		if (shape->exec[i])
			cudaGraphExecDestroy(shape->exec[i]);
	*shape = (shape_graphs){ .met = 0 };
}

void d2v_cuda_graphs_free(struct d2v_cuda_graphs *graphs) {
	for (int i = 0; graphs && i < SHAPES; i++)
		release_shape(&graphs->shapes[i]);
	d2v_free(graphs);
}

void d2v_cuda_graphs_spoil(d2v_device *dev) {
	d2v_cuda_of(dev)->graphs->kept = NULL;
}

bool d2v_cuda_graph_is_open(d2v_device *dev) {
	return d2v_cuda_of(dev)->graphs->open != NULL;
}

// NULL: it was not met before; from now on it was.
static shape_graphs *find(struct d2v_cuda_graphs *graphs, uint64_t shape) {
	shape_graphs *oldest = &graphs->shapes[0];
	for (int i = 0; i < SHAPES; i++) {
		shape_graphs *at = &graphs->shapes[i];
		if (at->met && at->shape == shape) {
			at->met = ++graphs->clock;
			return at;
		}
		oldest = at->met < oldest->met ? at : oldest;
	}
	release_shape(oldest);
	*oldest = (shape_graphs){ .shape = shape, .met = ++graphs->clock };
	return NULL;
}

static bool give_up(d2v_device *dev, const char *why) {
	d2v_warn("%s: steps are not made into CUDA graphs (%s): their operations are asked for one by one, which takes small batches "
			 "a little longer",
		dev->name, why);
	dev->no_graphs = true;
	return false;
}

// Relaxed: libraries may load a kernel or ask for memory of their own meanwhile. Ours is looked after in d2v_cuda_scratch.
bool d2v_cuda_graph_begin(d2v_device *dev, uint64_t shape) {
	struct d2v_cuda_graphs *graphs = d2v_cuda_of(dev)->graphs;
	D2V_ASSERT(!graphs->open);
	graphs->kept = NULL;
	shape_graphs *found = find(graphs, shape);
	if (!found)
		return false;
	dev->backend->enter(dev);
	cudaError_t result = cudaStreamBeginCapture(d2v_cuda_of(dev)->stream, cudaStreamCaptureModeRelaxed);
	if (result != cudaSuccess) {
		cudaGetLastError();
		return give_up(dev, cudaGetErrorString(result));
	}
	graphs->open = found;
	return true;
}

// Gives *exec what the graph holds. False: *result says why not.
static bool fill_exec(d2v_device *dev, cudaGraphExec_t *exec, cudaGraph_t graph, cudaError_t *result) {
	cudaGraphExecUpdateResultInfo info;
	if (*exec && cudaGraphExecUpdate(*exec, graph, &info) == cudaSuccess) {
		dev->graphs.changed++;
		return true;
	}
	cudaGetLastError(); // another list of operations is no error
	if (*exec)
		cudaGraphExecDestroy(*exec);
	*exec = NULL;
	*result = cudaGraphInstantiate(exec, graph, 0);
	if (*result != cudaSuccess)
		*exec = NULL;
	dev->graphs.made += *result == cudaSuccess;
	return *result == cudaSuccess;
}

// What went wrong within a capture is of no concern to what runs: it is taken back from the device.
static bool take_error_back(d2v_device *dev, d2v_error *err) {
	*err = dev->first;
	d2v_error_clear(&dev->first);
	return err->status != D2V_OK;
}

bool d2v_cuda_graph_end(d2v_device *dev, bool keep) {
	struct d2v_cuda_graphs *graphs = d2v_cuda_of(dev)->graphs;
	shape_graphs *shape = graphs->open;
	cudaGraph_t graph = NULL;
	d2v_error err;
	cudaError_t result = cudaStreamEndCapture(d2v_cuda_of(dev)->stream, &graph);
	graphs->open = NULL;
	bool failed = take_error_back(dev, &err), kept = false;
	if (result == cudaSuccess && keep && !failed) {
		kept = fill_exec(dev, &shape->exec[shape->turn], graph, &result);
		graphs->kept = kept ? shape->exec[shape->turn] : NULL;
		shape->turn ^= kept;
	}
	if (graph)
		cudaGraphDestroy(graph);
	if (kept || (!keep && !failed && result == cudaSuccess))
		return kept;
	cudaGetLastError();
	return give_up(dev, failed ? err.text : cudaGetErrorString(result));
}

bool d2v_cuda_graph_launch(d2v_device *dev) {
	struct d2v_cuda_graphs *graphs = d2v_cuda_of(dev)->graphs;
	cudaGraphExec_t exec = graphs->kept;
	graphs->kept = NULL;
	if (!exec)
		return false;
	dev->backend->enter(dev);
	cudaError_t result = cudaGraphLaunch(exec, d2v_cuda_of(dev)->stream);
	if (result == cudaSuccess)
		return true;
	cudaGetLastError();
	return give_up(dev, cudaGetErrorString(result));
}
