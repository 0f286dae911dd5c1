#include "ingest/class_scan.h"

#include "base/progress.h"
#include "base/signals.h"
#include "ingest/address.h"
#include "ingest/reader.h"

static d2v_status check_going(const d2v_ingest_options *options, const d2v_member *member, d2v_error *err) {
	if (d2v_signals_asked())
		return d2v_fail(err, D2V_INTERRUPTED, "interrupted; run the same command to go on");
	if (member->index < options->max_files)
		return D2V_OK;
	return d2v_fail(err, D2V_UNSAFE, "more than %llu members; give the sources in parts, or raise --max-files",
		(unsigned long long)options->max_files);
}

static void show(d2v_progress *progress, const d2v_origin *source, const d2v_member *member, size_t classes) {
	char files[D2V_PROGRESS_TEXT];
	uint64_t done, total;
	d2v_origin_progress(source, &done, &total);
	d2v_progress_update(progress, (double)done, (double)total, "looking for classes: files %s  classes %zu",
		d2v_progress_count(member->index + 1, files), classes);
}

static d2v_status scan_source(
	d2v_classes *classes, const d2v_ingest_options *options, uint32_t index, d2v_progress *progress, d2v_error *err) {
	d2v_layout_options places = d2v_reader_places(options, index);
	d2v_origin *source;
	d2v_member member;
	d2v_status status;
	places.val_labels = NULL; // ImageNet's classes are those of the train set
	D2V_TRY(d2v_reader_open_source(options, index, &source, err));
	while ((status = d2v_origin_next(source, &member, err)) == D2V_OK) {
		d2v_place place = { 0 };
		status = check_going(options, &member, err);
		if (status == D2V_OK && member.is_file && member.rejection.reason == D2V_REASON_NONE)
			options->layout->place(&places, member.path, &place);
		if (place.class_name[0] && place.role != D2V_ROLE_IGNORED)
			status = d2v_classes_add(classes, place.class_name, NULL, err);
		if (status != D2V_OK)
			break;
		show(progress, source, &member, classes->count);
	}
	d2v_origin_close(source);
	return status == D2V_END ? D2V_OK : status;
}

static d2v_status scan_all(d2v_classes *classes, const d2v_ingest_options *options, d2v_error *err) {
	d2v_progress *progress = NULL;
	d2v_status status = d2v_progress_new(&progress, options->quiet, err);
	for (uint32_t i = 0; status == D2V_OK && i < options->source_count; i++)
		status = scan_source(classes, options, i, progress, err);
	d2v_progress_free(progress);
	return status;
}

static d2v_status take_val_labels(d2v_classes *classes, const d2v_val_labels *labels, d2v_error *err) {
	for (uint64_t i = 1; i <= d2v_val_labels_count(labels); i++)
		D2V_TRY(d2v_classes_add(classes, d2v_val_labels_find(labels, i), NULL, err));
	return D2V_OK;
}

static const d2v_ingest_source *streamed(const d2v_ingest_options *options) {
	for (size_t i = 0; i < options->source_count; i++)
		if (!options->keep && d2v_address_is_url(options->sources[i].where))
			return &options->sources[i];
	return NULL;
}

d2v_status d2v_class_scan(d2v_classes *classes, const d2v_ingest_options *options, d2v_error *err) {
	const d2v_val_labels *labels = options->places.val_labels;
	const d2v_ingest_source *once = streamed(options);
	char shown[512];
	bool is_imagenet = options->layout == &d2v_layout_imagenet;
	if (once && !labels)
		return d2v_fail(err, D2V_INVALID,
			"%s: the classes must be known before an archive is read as it comes: give %s, or --keep-archives",
			d2v_address_public(once->where, shown, sizeof shown),
			is_imagenet ? "--synset-words FILE or --val-labels FILE" : "--classes FILE, or --label-by none");
	if (!once)
		D2V_TRY(scan_all(classes, options, err));
	if (labels && !classes->count)
		D2V_TRY(take_val_labels(classes, labels, err));
	if (classes->count == 1 && !is_imagenet)
		d2v_classes_release(classes);
	d2v_classes_sort(classes);
	return D2V_OK;
}
