// d2v-ingest openwebtext and text.
#include "base/memory.h"
#include "ingest/text_check.h"
#include "ingest/tokenizer.h"
#include "tools/ingest_program.h"

#include <stdio.h>

#define OPENWEBTEXT_URL "https://zenodo.org/record/3834942/files/openwebtext.tar.xz"
#define OPENWEBTEXT_BYTES 12880027468u
#define OPENWEBTEXT_SHA256 "9fe39d154c5bc67da8c359415372b79510eb1e2edb0d035fe4f7fc3a732b9336"

static struct arguments {
	const char *bpe, *bpe_url, *dict, *field, *valid;
	bool check;
} arguments = { .bpe_url = D2V_TOKENIZER_URL, .field = "text" };

#define TEXT_ROWS \
	{ .name = "bpe", \
		.kind = D2V_OPTION_TEXT, \
		.into = &arguments.bpe, \
		.value = "DIR", \
		.help = "take the tokenizer's encoder.json and vocab.bpe from there (default: GPT-2's are fetched)" }, \
		{ .name = "bpe-url", \
			.kind = D2V_OPTION_TEXT, \
			.into = &arguments.bpe_url, \
			.value = "URL", \
			.help = "fetch GPT-2's files from there (default " D2V_TOKENIZER_URL ")" }, \
		{ .name = "dict", \
			.kind = D2V_OPTION_TEXT, \
			.into = &arguments.dict, \
			.value = "FILE", \
			.help = "the model's dictionary, as fairseq writes it; the published one gives the ids of RoBERTa " \
					"(default: made from the counts of the split train)" }, \
		{ .name = "check", \
			.kind = D2V_OPTION_FLAG, \
			.into = &arguments.check, \
			.help = "when all is there, read the sources once more and hold every stored token against them" }, \
	{ \
		.name = "valid", .kind = D2V_OPTION_TEXT, .into = &arguments.valid, .value = "PATTERN", .help = VALID_HELP \
	}

#define VALID_HELP "files of which name or path matches go to the split valid (default urlsf_subset20*)"
static d2v_option openwebtext_options[] = {
	INGEST_SOURCE_ROWS("the split of all other documents (default train)"),
	TEXT_ROWS,
	INGEST_LIMIT_ROWS,
	INGEST_DOWNLOAD_ROWS,
	INGEST_OUTPUT_ROWS,
	{ 0 },
};
#undef VALID_HELP
#define VALID_HELP "files of which name or path matches go to the split valid (default: none do)"
static d2v_option text_options[] = {
	INGEST_SOURCE_ROWS("the split of all other documents (default train)"),
	{ .name = "field",
		.kind = D2V_OPTION_TEXT,
		.into = &arguments.field,
		.value = "NAME",
		.help = "the field of JSON lines that holds the text (default text)" },
	TEXT_ROWS,
	INGEST_LIMIT_ROWS,
	INGEST_DOWNLOAD_ROWS,
	INGEST_OUTPUT_ROWS,
	{ 0 },
};

#define TEXT_DETAIL \
	" Each line is stripped and encoded by itself with GPT-2's byte-pair encoding; blank lines are kept, and an " \
	"empty " \
	"one follows each document. Bytes that are no UTF-8 are kept too. Empty documents are left out and counted. The " \
	"tokenizer travels in DIR/tokenizer."

const d2v_command ingest_openwebtext_command = {
	.program = "d2v-ingest",
	.name = "openwebtext",
	.operands = "--out DIR [SOURCE...]",
	.summary = "OpenWebText: an xz tar of xz tars of documents",
	.detail = INGEST_DETAIL TEXT_DETAIL " Without a source the official archive (12.9 GB) is read as it comes.",
	.examples = "d2v-ingest openwebtext --out owt --dict dict.txt\n"
				"    downloads and ingests, with the published dictionary\n"
				"d2v-ingest openwebtext --from openwebtext.tar.xz --bpe gpt2/ --out owt\n"
				"    takes an archive and a tokenizer that are there already\n",
	.options = openwebtext_options,
	.operands_max = -1,
};

const d2v_command ingest_text_command = {
	.program = "d2v-ingest",
	.name = "text",
	.operands = "--out DIR SOURCE...",
	.summary = "anybody's text: .txt files (a document each) and JSON lines, also .gz .xz .zst .bz2",
	.detail = INGEST_DETAIL TEXT_DETAIL
	" A source may be a file by itself. Files and lines may be of any size; of a line without white space for half a "
	"megabyte the encoding is that of its parts.",
	.examples = "d2v-ingest text --from corpus/ --bpe gpt2/ --valid 'dev*' --out corpus.d2v\n"
				"    all .txt and .jsonl files below a folder\n"
				"d2v-ingest text --out pile --field text 00.jsonl.zst 01.jsonl.zst\n"
				"    JSON lines, packed\n",
	.options = text_options,
	.operands_max = -1,
};

static d2v_tokenizer *tokenizer;

static d2v_status check(const d2v_ingest_options *options, d2v_error *err) {
	d2v_text_check_result result;
	D2V_TRY(d2v_text_check(options, &result, err));
	fprintf(ingest_common_options.json ? stderr : stdout,
		"checked: %llu documents, %llu lines, %llu tokens decode to the %llu bytes they came from\n",
		(unsigned long long)result.documents, (unsigned long long)result.lines, (unsigned long long)result.tokens,
		(unsigned long long)result.bytes);
	return D2V_OK;
}

static d2v_status fill_text(ingest_job *job, const d2v_layout *layout, d2v_error *err) {
	d2v_ingest_options *options = &job->options;
	options->layout = layout;
	options->places.texts = false;
	options->places.field = layout == &d2v_layout_text ? arguments.field : NULL;
	options->places.valid = arguments.valid;
	D2V_TRY(d2v_tokenizer_open(
		&tokenizer, arguments.bpe, arguments.bpe_url, arguments.dict, options->out, &options->download, err));
	options->tokenizer = tokenizer;
	job->check = arguments.check ? check : NULL;
	options->store = d2v_tokenizer_codec(tokenizer);
	return D2V_OK;
}

static d2v_status fill_openwebtext(ingest_job *job, const d2v_operands *operands, d2v_error *err) {
	if (!ingest_common_options.from.count && !operands->count) {
		d2v_ingest_source official = {
			.where = OPENWEBTEXT_URL, .sha256 = OPENWEBTEXT_SHA256, .bytes = OPENWEBTEXT_BYTES, .files = 20610
		};
		D2V_TRY(ingest_job_add(job, &official, err));
	}
	D2V_TRY(ingest_job_add_given(job, operands, err));
	return fill_text(job, &d2v_layout_openwebtext, err);
}

static d2v_status fill_own(ingest_job *job, const d2v_operands *operands, d2v_error *err) {
	D2V_TRY(ingest_job_add_given(job, operands, err));
	if (!job->source_count)
		return d2v_fail(err, D2V_INVALID, "no source: give --from; see d2v-ingest text --help");
	return fill_text(job, &d2v_layout_text, err);
}

int ingest_openwebtext(const d2v_command *command, int argc, char **argv) {
	int status = ingest_main(command, argc, argv, fill_openwebtext);
	d2v_tokenizer_close(tokenizer);
	return status;
}

int ingest_text(const d2v_command *command, int argc, char **argv) {
	int status = ingest_main(command, argc, argv, fill_own);
	d2v_tokenizer_close(tokenizer);
	return status;
}
