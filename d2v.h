// d2v as a library: everything but the programs is in libd2v, and this header brings the parts that others embed.
//
//     ingest  files to a data set        ingest/ingest.h           d2v_ingest_run
//             (text: its tokenizer)      ingest/tokenizer.h        d2v_tokenizer_open
//     look    records of a data set      shards/dataset.h          d2v_dataset_open, d2v_dataset_read
//     check   every byte of a data set   shards/verify.h           d2v_verify_dataset
//     load    batches from a data set    loaders/speech_source.h   d2v_speech_source_open, d2v_source_next
//             of pictures                loaders/image_source.h    d2v_image_source_open
//             of text                    loaders/text_source.h     d2v_text_source_open
//             of all three               loaders/joint_source.h    d2v_joint_source_open
//     train   a model on any source      train/trainer.h           d2v_recipe_load, d2v_trainer_new, d2v_trainer_run
//
// Each header is its own manual. Functions that can fail return d2v_status and say why in a d2v_error; nothing prints
// or exits on its own (base/log.h says where warnings and progress go, and how to silence them). Compile and link with
// what `pkg-config --cflags --libs d2v` says after `make install`. Names outside this list may change between versions.
//
// A program that runs models on the processor wants handlers of signals on a stack of their own (base/signals.h says why),
// and GOMP_SPINCOUNT=1000 in its environment where it shares the processors with others.
#ifndef D2V_H
#define D2V_H

#include "base/error.h"
#include "base/log.h"
#include "base/version.h"
#include "ingest/ingest.h"
#include "ingest/tokenizer.h"
#include "kernels/device.h"
#include "loaders/batch.h"
#include "loaders/image_source.h"
#include "loaders/joint_source.h"
#include "loaders/source.h"
#include "loaders/speech_source.h"
#include "loaders/synthetic_source.h"
#include "loaders/text_source.h"
#include "shards/dataset.h"
#include "shards/record.h"
#include "shards/verify.h"
#include "train/recipe.h"
#include "train/trainer.h"

#endif
