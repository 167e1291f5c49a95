#!/bin/bash
# Compares what two builds of exspan print, for changes that are to change
# nothing: NDJSON, CSV and table of every recording, of every capture below
# EXSPAN_CORPUS, and of the benchmark captures, with one, two and three workers.
#
#   testdata/bench/same.sh OLD NEW [FOLDER]
#
# OLD and NEW are binaries, FOLDER holds the benchmark captures (they are left
# out where it has none). The exit code is 1 if any output differs.
set -uo pipefail
cd "$(dirname "$0")/../.."

old=$(realpath "$1")
new=$(realpath "$2")
folder=${3:-${TMPDIR:-/tmp}/exspan-bench}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# output EXSPAN ARGS...: standard output, standard error and exit code, as one
# digest.
output() {
	"$@" >"$scratch/out" 2>"$scratch/err"
	echo "exit $?" >>"$scratch/err"
	cat "$scratch/out" "$scratch/err" | sha256sum
}

compared=0 different=0
compare() { # FILE ARGS...
	local file=$1 workers format
	shift
	for format in ndjson csv table; do
		for workers in 1 2 3; do
			compared=$((compared + 1))
			if [ "$(output "$old" analyze -q --workers "$workers" --format "$format" "$@" "$file")" != \
				"$(output "$new" analyze -q --workers "$workers" --format "$format" "$@" "$file")" ]; then
				different=$((different + 1))
				echo "differs: $file --format $format --workers $workers $*"
			fi
		done
	done
}

for file in testdata/*.pcapng; do
	compare "$file"
	compare "$file" --site "${file%.pcapng}.site.yaml"
done
if [ -n "${EXSPAN_CORPUS:-}" ]; then
	while IFS= read -r file; do
		compare "$file"
	done < <(find "$EXSPAN_CORPUS" -type f ! -name '*.md' | sort)
fi
for name in mix small flows big; do
	if [ -s "$folder/$name.pcap" ]; then
		compare "$folder/$name.pcap"
	fi
done
echo "$compared outputs compared, $different differ"
[ "$different" = 0 ]
