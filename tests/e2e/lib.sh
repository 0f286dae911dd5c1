# What the end-to-end tests share; sourced, not run. Needs BIN (the programs) and OBJ (the object folder, with the helpers).
# Gives: $tmp (an empty folder, removed at the end), fail, expect_exit, need, synthetic_speech, start_nginx, requests, start_bad_server.
: "${BIN:?BIN is the folder of the programs}" "${OBJ:?OBJ is the folder of the object files}"
helpers=$OBJ/tests/e2e
export no_proxy='*' # servers are our own
tmp=$(mktemp -d "${TMPDIR:-/tmp}/d2v-e2e.XXXXXX")
servers=()

# A test that needs more says what it leaves behind by overriding clean_up_more.
clean_up_more() { :; }
clean_up() {
	local pid
	for pid in ${servers[@]+"${servers[@]}"}; do
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	clean_up_more
	rm -rf "$tmp"
}
trap clean_up EXIT
trap 'exit 1' INT TERM HUP

skip() { # WHY
	echo "skip: $1"
	exit 77
}
need() { # PROGRAM...
	local program
	for program in "$@"; do command -v "$program" >/dev/null || skip "$program is not installed"; done
}
step() { echo "== $*"; }
fail() {
	echo "FAILED: $*"
	if [ -s "$tmp/err" ]; then
		echo "last standard error:"
		tail -n 20 "$tmp/err"
	fi
	exit 1
}

# Runs a command, its output in $tmp/out and $tmp/err, and insists on its exit status. A program stuck for ten minutes is
# a failure too.
expect_exit() { # STATUS COMMAND...
	local wanted=$1 got=0
	shift
	timeout --kill-after=5 600 "$@" >"$tmp/out" 2>"$tmp/err" || got=$?
	[ "$got" = "$wanted" ] || fail "exit status $got instead of $wanted: $*"
	! grep -qE 'Sanitizer|runtime error' "$tmp/err" || fail "a sanitizer's report: $*"
}
expect_said() { # EXTENDED-REGEX: on standard error of the last command
	grep -qiE -- "$1" "$tmp/err" || fail "standard error does not say: $1"
}
expect_equal() { # WHAT GOT WANTED
	[ "$2" = "$3" ] || fail "$1: $2 instead of $3"
}
expect_no_data_set() { # FOLDER
	[ ! -e "$1/dataset.json" ] || fail "$1/dataset.json was published"
}

# All files of a data set with their sums, so that two data sets can be compared; what is not part of it (locks, leftovers of
# an unfinished run) shows as a difference, except the lock file.
data_set_sums() { # FOLDER
	(cd "$1" && find . -type f ! -name '*.lock' ! -name '.lock' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum)
}
expect_same_data_set() { # FOLDER WANTED-FOLDER
	data_set_sums "$2" >"$tmp/wanted.sums"
	data_set_sums "$1" >"$tmp/got.sums"
	diff "$tmp/wanted.sums" "$tmp/got.sums" >"$tmp/sums.diff" || {
		cat "$tmp/sums.diff"
		fail "$1 is not the same data set as $2"
	}
}
dataset_fact() { # FOLDER PATH: a value of dataset.json, like splits.0.records
	"$helpers/helper_json" "$2" <"$1/dataset.json"
}
expect_verified() { # FOLDER
	expect_exit 0 "$helpers/helper_records" verify "$1"
}

# LibriSpeech's layout with tones and noise for voices: FOLDER/LibriSpeech/SPLIT/..., one to four seconds each.
synthetic_speech() { # FOLDER SPLIT SPEAKERS UTTERANCES-EACH SEED
	need flac
	"$helpers/helper_speech" "$@"
	find "$1/LibriSpeech/$2" -name '*.raw' -print0 | xargs -0 flac --silent --delete-input-file --force-raw-format \
		--endian=little --sign=signed --channels=1 --bps=16 --sample-rate=16000
}
make_tar() { # ARCHIVE.tar|.tar.gz|... FOLDER: everything in it, in an order that does not depend on the file system
	tar --create --auto-compress --file "$1" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@1325376000 \
		--directory "$2" .
}
# The real archive when there is one, else one made here; sets $archive and $split.
some_speech() {
	real=no
	archive=${D2V_SHARED:-}/data/librispeech/train-clean-5-mini.tar.gz split=train-clean-5
	if [ -n "${D2V_SHARED:-}" ] && [ -f "$archive" ]; then
		real=yes
		return
	fi
	synthetic_speech "$tmp/speech" $split 6 10 1
	archive=$tmp/speech.tar.gz
	(cd "$tmp/speech" && tar -czf "$archive" --sort=name LibriSpeech)
}

random_port() { echo $((20000 + (RANDOM * 32768 + RANDOM) % 40000)); }
# nginx answers, and it is ours: another test's may have the port.
nginx_answers() { curl -q --silent --fail --output /dev/null --max-time 30 "$url/ours/${tmp##*/}"; }
# A server of our own: serves $tmp/www, with a location for each way of answering; /slow/ is slow while $tmp/slow is there. Sets
# $url; `requests` says what it was asked.
start_nginx() {
	local port pid attempt program
	program=$(PATH=$PATH:/usr/sbin:/sbin command -v nginx) || skip "nginx is not installed"
	need curl
	mkdir -p "$tmp/www" "$tmp/nginx"
	for attempt in 1 2 3 4 5; do
		port=$(random_port)
		cat >"$tmp/nginx.conf" <<-CONF
			daemon off;
			master_process off;
			pid $tmp/nginx/pid;
			error_log $tmp/nginx/error.log;
			events { worker_connections 64; }
			http {
				log_format short '\$request_method \$uri \$status \$body_bytes_sent "\$http_range" "\$http_cookie" "\$http_authorization" "\$http_x_login"';
				access_log $tmp/access.log short;
				client_body_temp_path $tmp/nginx/body; proxy_temp_path $tmp/nginx/proxy; fastcgi_temp_path $tmp/nginx/fastcgi;
				uwsgi_temp_path $tmp/nginx/uwsgi; scgi_temp_path $tmp/nginx/scgi;
				default_type application/octet-stream;
				server {
					listen 127.0.0.1:$port;
					set \$rate 0;
					if (-e $tmp/slow) { set \$rate 64k; }
					location = /ours/${tmp##*/} { access_log off; return 204; }
					location /plain/ { alias $tmp/www/; }
					location /norange/ { alias $tmp/www/; max_ranges 0; }
					location /slow/ { alias $tmp/www/; limit_rate \$rate; }
					location /forbidden/ { return 403; }
					location /busy/ { return 503; }
					location /login/ { if (\$http_cookie !~ "session=open") { return 403; } alias $tmp/www/; }
					location /away/ { rewrite ^/away/(.*)\$ http://localhost:$port/plain/\$1 redirect; }
					location /moved/ { rewrite ^/moved/(.*)\$ /plain/\$1 redirect; }
					location /elsewhere/ { return 302 file:///etc/hostname; }
					location /loop/ { rewrite ^/loop/(.*)\$ /loop/\$1 redirect; }
					location /locked/ { auth_basic closed; auth_basic_user_file $tmp/nginx/users; alias $tmp/www/; }
				}
			}
		CONF
		: >"$tmp/access.log"
		: >"$tmp/nginx/users"
		"$program" -p "$tmp/nginx" -e "$tmp/nginx/error.log" -c "$tmp/nginx.conf" 2>>"$tmp/nginx/start.log" &
		pid=$!
		servers+=($pid)
		url=http://127.0.0.1:$port
		while kill -0 $pid 2>/dev/null; do
			if nginx_answers; then return; fi
			sleep 0.05
		done
	done
	cat "$tmp/nginx/start.log" "$tmp/nginx/error.log" || true
	fail "nginx does not start"
}
# How many requests nginx has had since forget_requests that match a pattern, a basic regular expression, in a line of
# METHOD PATH STATUS BYTES-SENT RANGE COOKIE AUTHORIZATION X-LOGIN. It writes the line when the answer is gone, so that whoever has
# that may look too early; once it answers again the line is there.
requests() { # PATTERN
	nginx_answers || fail "nginx does not answer"
	grep -ac -- "$1" "$tmp/access.log" || true
}
expect_requests() { # WHAT WANTED PATTERN
	expect_equal "$1: requests" "$(requests "$3")" "$2"
}
forget_requests() {
	nginx_answers || fail "nginx does not answer"
	: >"$tmp/access.log"
}
# helper_bad_server.c says what its paths do. Sets $bad_url; its log is $tmp/bad.log, one line per request: PATH START.
start_bad_server() {
	mkdir -p "$tmp/www"
	: >"$tmp/bad.port"
	"$helpers/helper_bad_server" "$tmp/www" "$tmp/bad.log" >"$tmp/bad.port" &
	servers+=($!)
	until [ -s "$tmp/bad.port" ]; do
		kill -0 $! 2>/dev/null || fail "helper_bad_server does not start"
		sleep 0.05
	done
	bad_url=http://127.0.0.1:$(cat "$tmp/bad.port")
}
