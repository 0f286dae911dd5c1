#!/usr/bin/env bash
# The whole way in a few minutes: data in, shards, a look inside, a data2vec 2.0 model learning from it.
#     make demo               or: tools/demo.sh speech|image|text|all
# The data is made here, without network, unless some of yours is given: DEMO_SPEECH (an archive or a folder of
# LibriSpeech), DEMO_IMAGES (an archive or a folder of pictures, the folders in it being the classes), DEMO_TEXT (a file, a
# folder or an archive of text). Each training is as long as this machine does in about two minutes; DEMO_UPDATES says how
# long instead. Everything lies in DEMO_DIR; the same command goes on where it was stopped.
set -euo pipefail
here=$(dirname "$0")/demo
bin=${BIN:-build/bin}
made=${OBJ:-build/plain}/tools/demo # the programs that make data
dir=${DEMO_DIR:-build/demo}
for part in steps speech image text joint; do . "$here/$part.sh"; done

case ${1:-speech} in
speech) demo_speech ;;
image) demo_image ;;
text) demo_text ;;
all)
	demo_speech
	demo_image
	demo_text
	demo_joint
	;;
*)
	echo "demo: DEMO=$1: speech, image, text or all are possible" >&2
	exit 2
	;;
esac
