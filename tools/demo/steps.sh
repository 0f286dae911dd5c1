# What the parts of the demo share; sourced, not run. Needs $here, $bin, $made and $dir.
step_number=0
step() { printf '\n\033[1m%d. %s\033[0m\n' $((step_number += 1)) "$1"; }
run() { printf '  $ %s\n' "$*"; "$@"; }

# Where a kind of data and what is learnt from it lie: what is given has a place of its own.
home_of() { # KIND GIVEN
	echo "$dir/$1${2:+-$(basename "$2")}"
}
check_given() { # VARIABLE
	[ -z "${!1:-}" ] || [ -e "${!1}" ] || { echo "demo: $1=${!1}: there is no such archive, file or folder" >&2; exit 2; }
}
# Runs what makes data, unless it has already been made to its end; leftovers of a stopped one go first.
make_once() { # FOLDER COMMAND...
	local folder=$1
	shift
	[ ! -e "$folder/done" ] || return 0
	rm -rf "$folder"
	mkdir -p "$folder"
	"$@" "$folder"
	touch "$folder/done"
}

# What so many seconds are good for, by the plan's own measurement of this machine.
updates_in() { # SECONDS LEAST MOST RECIPE KEY=VALUE...
	local seconds=$1 least=$2 most=$3 per_hour updates
	shift 3
	per_hour=$("$bin/d2v-train" "$@" --plan --json | sed -n 's/.*"updates_per_hour": *\([0-9]*\).*/\1/p')
	updates=$((${per_hour:-0} * seconds / 3600))
	echo $((updates < least ? least : updates > most ? most : updates))
}
# Trains into RUN. How long is decided once, so that the same command goes on with the same run.
train() { # RUN SECONDS LEAST MOST RECIPE KEY=VALUE...
	local save=$1 seconds=$2 least=$3 most=$4 updates=${DEMO_UPDATES:-}
	shift 4
	mkdir -p "$save"
	[ -n "$updates" ] || [ ! -s "$save.updates" ] || updates=$(cat "$save.updates")
	[ -n "$updates" ] || updates=$(updates_in "$seconds" "$least" "$most" "$@")
	echo "$updates" >"$save.updates"
	run "$bin/d2v-train" "$@" checkpoint.save_dir="$save" optimization.max_update="$updates" \
		lr_scheduler.warmup_updates=$((updates / 8))
}

there_is() { printf '  %-36s %s\n' "$1" "$2"; } # PATH WHAT

# A run's curves as a picture.
draw_curve() { # RUN FILE WHAT
	awk -f "$here/../../docs/curve.awk" "$1/metrics.jsonl" >"$2"
	there_is "$2" "$3"
}

# The first and the last line of a run's metrics in words.
learnt() { # RUN
	local first last
	first=$(head -n 1 "$1/metrics.jsonl") last=$(tail -n 1 "$1/metrics.jsonl")
	there_is loss "$(number "$first" loss) at update $(field "$first" update), $(number "$last" loss) at update $(field "$last" update)"
	there_is "spread of predictions" "$(number "$first" pred_var) before, $(number "$last" pred_var) after (0 would be a collapse)"
	there_is "spread of targets" "$(number "$first" target_var) before, $(number "$last" target_var) after (the loss goes with its square)"
}
field() { sed -n "s/.*\"$2\": *\([-0-9.e+]*\).*/\1/p" <<<"$1"; } # LINE KEY
number() { LC_ALL=C printf "%.2f" "$(field "$1" "$2")"; }
