// d2v-ingest imagenet and images.
#include "base/memory.h"
#include "tools/ingest_program.h"

#include <string.h>

#define IMAGENET_MIRROR "https://image-net.org/data/ILSVRC/2012"

static struct arguments {
	const char *train, *val, *val_labels, *synset_words, *mirror;
	d2v_option_list splits;
	const char *split_by, *label_by, *classes;
	int store, check;
	int64_t resize, quality, max_pixels;
} arguments = { .mirror = IMAGENET_MIRROR, .quality = 90, .max_pixels = 100 << 20 };

#define IMAGE_ROWS \
	{ .name = "store", \
		.kind = D2V_OPTION_CHOICE, \
		.into = &arguments.store, \
		.choices = "jpeg|rgb8", \
		.help = "how pictures are stored: jpeg (default) leaves JPEG and PNG files as they are, byte for byte; rgb8 " \
				"stores pixels, which needs no decoding later and many times the space" }, \
		{ .name = "resize", \
			.kind = D2V_OPTION_INT, \
			.into = &arguments.resize, \
			.min = 1, \
			.max = 65500, \
			.value = "N", \
			.help = "make the shorter side N pixels (bicubic, as Pillow does it) where it is longer, and encode anew " \
					"(default: pictures stay as they are)" }, \
		{ .name = "quality", \
			.kind = D2V_OPTION_INT, \
			.into = &arguments.quality, \
			.min = 1, \
			.max = 100, \
			.value = "Q", \
			.help = "of JPEGs that --resize encodes anew (default 90)" }, \
		{ .name = "check", \
			.kind = D2V_OPTION_CHOICE, \
			.into = &arguments.check, \
			.choices = "decode|header|none", \
			.help = "what is looked at before a file is stored as it is: decode (default) finds all damage; header " \
					"reads the header and looks for the end; none reads the header alone, at the speed of the disk" }, \
	{ \
		.name = "max-pixels", .kind = D2V_OPTION_INT, .into = &arguments.max_pixels, .min = 1, .max = 178956970, \
		.value = "N", .help = "reject pictures with more pixels (default 104857600)" \
	}

static d2v_option imagenet_options[] = {
	{ .name = "train",
		.kind = D2V_OPTION_TEXT,
		.into = &arguments.train,
		.value = "TAR",
		.help = "ILSVRC2012_img_train.tar, or a folder of class tars or class folders" },
	{ .name = "val",
		.kind = D2V_OPTION_TEXT,
		.into = &arguments.val,
		.value = "TAR",
		.help = "ILSVRC2012_img_val.tar, or a folder" },
	{ .name = "val-labels",
		.kind = D2V_OPTION_TEXT,
		.into = &arguments.val_labels,
		.value = "FILE",
		.help = "the synsets of the validation pictures, a line each; a file or an address (default for the official "
				"files: imagenet_2012_validation_synset_labels.txt of github.com/tensorflow/models)" },
	{ .name = "synset-words",
		.kind = D2V_OPTION_TEXT,
		.into = &arguments.synset_words,
		.value = "FILE",
		.help = "all synsets with their words, a line each (n01440764 tench, Tinca tinca): names for the classes, and "
				"their indexes when the archives have only some of them" },
	{ .name = "splits",
		.letter = 's',
		.kind = D2V_OPTION_LIST,
		.into = &arguments.splits,
		.value = "train,val",
		.help = "official files to download (default, when no source is given: both); they need a login" },
	{ .name = "mirror",
		.kind = D2V_OPTION_TEXT,
		.into = &arguments.mirror,
		.value = "URL",
		.help = "take the official files from there (default " IMAGENET_MIRROR ")" },
	INGEST_SOURCE_ROWS("the split that all pictures go to (default: what their names say, train or val)"),
	IMAGE_ROWS,
	INGEST_LIMIT_ROWS,
	INGEST_DOWNLOAD_ROWS,
	INGEST_LOGIN_ROWS,
	INGEST_OUTPUT_ROWS,
	{ 0 },
};

static d2v_option images_options[] = {
	INGEST_SOURCE_ROWS("the split of pictures whose path names none (default train)"),
	INGEST_SORT_ROWS(arguments, "folder", "folder"),
	IMAGE_ROWS,
	INGEST_LIMIT_ROWS,
	INGEST_DOWNLOAD_ROWS,
	INGEST_LOGIN_ROWS,
	INGEST_OUTPUT_ROWS,
	{ 0 },
};

const d2v_command ingest_imagenet_command = {
	.program = "d2v-ingest",
	.name = "imagenet",
	.operands = "--out DIR [SOURCE...]",
	.summary = "ImageNet (ILSVRC2012): the train tar of class tars, the val tar and its labels",
	.detail = INGEST_DETAIL
	" The tars inside the train tar are read where they are. Records are named by their files "
	"(n01440764_10026); a label is the place of the picture's synset among all synsets in ascending order, 0 to "
	"999. With --split all pictures go to one split; pictures of classes that are not in the list have no "
	"label." INGEST_LOGIN_DETAIL,
	.examples = "d2v-ingest imagenet --train ILSVRC2012_img_train.tar --val ILSVRC2012_img_val.tar \\\n"
				"        --val-labels imagenet_2012_validation_synset_labels.txt --synset-words synset_words.txt \\\n"
				"        --out imagenet\n"
				"    archives that are there already, with the names of the classes\n"
				"D2V_COOKIE='sessionid=...' d2v-ingest imagenet --out imagenet\n"
				"    downloads the official archives with the login of a browser, and ingests them as they come\n"
				"d2v-ingest imagenet --train train.tar --resize 256 --quality 95 --out small\n"
				"    shorter sides of 256 pixels: less space, and faster to load\n",
	.options = imagenet_options,
	.operands_max = -1,
};

const d2v_command ingest_images_command = {
	.program = "d2v-ingest",
	.name = "images",
	.operands = "--out DIR SOURCE...",
	.summary = "anybody's pictures: JPEG and PNG in folders, tars and zips",
	.detail = INGEST_DETAIL
	" Records are named by their paths without the ending. Of the folders on the way the first one called train, "
	"val, test or the like is the split, and the one in it, or without a split the last one, the class; a single "
	"class for all is none." INGEST_SORT_DETAIL
	" An archive that is read as it comes from an address cannot be passed over twice: then --classes says what "
	"there is." INGEST_LOGIN_DETAIL,
	.examples = "d2v-ingest images --from photos/ --out photos-d2v\n"
				"    all JPEG and PNG files below a folder; its folders are the classes\n"
				"d2v-ingest images --from cifar10-mini.tar.gz --out cifar10\n"
				"    {train,test}/CLASS/NUMBER.jpg: two splits, ten classes\n"
				"d2v-ingest images --from pets.zip --label-by '([A-Za-z_]+)_[0-9]+\\.jpg$' --out pets\n"
				"    the class is in the name\n"
				"d2v-ingest images --from photos/ --label-by none --resize 256 --out unlabelled\n"
				"    no classes, and small\n",
	.options = images_options,
	.operands_max = -1,
};

// ---- what both have

static void fill_images(d2v_ingest_options *options) {
	options->places.texts = false;
	options->store = arguments.store ? D2V_CODEC_RGB8 : D2V_CODEC_JPEG;
	options->resize = (uint32_t)arguments.resize;
	options->quality = (int)arguments.quality;
	options->check = (d2v_image_check)arguments.check;
	options->max_pixels = (uint64_t)arguments.max_pixels;
}

// ---- imagenet

// As the data set's own loaders state them.
static const struct official {
	const char *split, *file, *md5;
	uint64_t bytes, files;
} officials[] = {
	{ "train", "ILSVRC2012_img_train.tar", "1d675b47d978889d74fa0da5fadfb00e", 147897477120, 1281167 },
	{ "val", "ILSVRC2012_img_val.tar", "29b22e2961454d5413ddabcf34fc5622", 6744924160, 50000 },
};
#define OFFICIALS (sizeof officials / sizeof *officials)

static d2v_status add_official(ingest_job *job, const char *split, d2v_error *err) {
	size_t i = 0, mirror = strlen(arguments.mirror);
	char *url, *shown;
	while (i < OFFICIALS && strcmp(officials[i].split, split) != 0)
		i++;
	if (i == OFFICIALS)
		return d2v_fail(err, D2V_INVALID, "--splits: ImageNet has no split '%s'; there are train and val", split);
	while (mirror && arguments.mirror[mirror - 1] == '/')
		mirror--;
	D2V_TRY(d2v_asprintf(&url, err, "%.*s/%s", (int)mirror, arguments.mirror, officials[i].file));
	D2V_TRY(ingest_job_keep(job, url, err));
	D2V_TRY(d2v_asprintf(&shown, err, IMAGENET_MIRROR "/%s", officials[i].file));
	D2V_TRY(ingest_job_keep(job, shown, err));
	return ingest_job_add(job,
		&(d2v_ingest_source){ .where = url,
			.name = shown,
			.md5 = officials[i].md5,
			.bytes = officials[i].bytes,
			.files = officials[i].files,
			.split = officials[i].split },
		err);
}

static d2v_status add_officials(ingest_job *job, d2v_error *err) {
	if (!arguments.splits.count)
		for (size_t i = 0; i < OFFICIALS; i++)
			D2V_TRY(add_official(job, officials[i].split, err));
	for (size_t i = 0; i < arguments.splits.count; i++)
		D2V_TRY(add_official(job, arguments.splits.items[i], err));
	if (!arguments.val_labels)
		arguments.val_labels = D2V_VAL_LABELS_URL;
	return D2V_OK;
}

static d2v_status load_val_labels(ingest_job *job, d2v_error *err) {
	if (!arguments.val_labels)
		return D2V_OK;
	d2v_status status = d2v_val_labels_load(&job->val_labels, arguments.val_labels, &job->options.download, err);
	if (status == D2V_NETWORK)
		return d2v_error_suffix(err, status, "; or give the file with --val-labels FILE");
	D2V_TRY(status);
	job->options.places.val_labels = job->val_labels;
	return D2V_OK;
}

static d2v_status fill_imagenet_job(ingest_job *job, const d2v_operands *operands, d2v_error *err) {
	job->options.layout = &d2v_layout_imagenet;
	job->options.places.split_folders = !ingest_common_options.split;
	fill_images(&job->options);
	if (arguments.train)
		D2V_TRY(ingest_job_add_text(job, arguments.train, ingest_common_options.split ? NULL : "train", err));
	if (arguments.val)
		D2V_TRY(ingest_job_add_text(job, arguments.val, ingest_common_options.split ? NULL : "val", err));
	D2V_TRY(ingest_job_add_given(job, operands, err));
	if (!job->source_count || arguments.splits.count)
		D2V_TRY(add_officials(job, err));
	D2V_TRY(load_val_labels(job, err));
	D2V_TRY(ingest_job_classes(job, arguments.synset_words, err));
	d2v_classes_sort(&job->classes);
	return D2V_OK;
}

// ---- images

static d2v_status fill_images_job(ingest_job *job, const d2v_operands *operands, d2v_error *err) {
	job->options.layout = &d2v_layout_images;
	fill_images(&job->options);
	D2V_TRY(ingest_job_split_by(job, arguments.split_by, true, err));
	D2V_TRY(ingest_job_label_by(job, arguments.label_by, true, err));
	D2V_TRY(ingest_job_classes(job, arguments.classes, err));
	D2V_TRY(ingest_job_add_given(job, operands, err));
	if (!job->source_count)
		return d2v_fail(err, D2V_INVALID, "no source: give --from; see d2v-ingest images --help");
	return D2V_OK;
}

int ingest_imagenet(const d2v_command *command, int argc, char **argv) {
	return ingest_main(command, argc, argv, fill_imagenet_job);
}

int ingest_images(const d2v_command *command, int argc, char **argv) {
	return ingest_main(command, argc, argv, fill_images_job);
}
