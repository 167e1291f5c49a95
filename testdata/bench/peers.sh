#!/bin/bash
# Times exspan against other tools on four synthetic captures and prints the
# ratios of the medians. Absolute times differ from machine to machine and from
# run to run: compare only ratios measured in one run. Tools that are not
# installed are skipped.
#
#   testdata/bench/peers.sh [EXSPAN [FOLDER]]
#
# FOLDER keeps the captures between runs (1.9 GB; default: under the temporary
# folder). RUNS is the number of runs a tool and capture (default 3), LIMIT the
# seconds after which a slow tool is stopped (default 120).
set -euo pipefail
cd "$(dirname "$0")/../.."

exspan=$(realpath "${1:-bin/exspan}")
folder=${2:-${TMPDIR:-/tmp}/exspan-bench}
runs=${RUNS:-3}
limit=${LIMIT:-120}
mkdir -p "$folder"

generate() { # NAME MODE PACKETS FLOWS
	if [ ! -s "$folder/$1.pcap" ]; then
		go run ./testdata/bench/gen "$2" "$3" "$4" "$folder/$1.pcap.new"
		mv "$folder/$1.pcap.new" "$folder/$1.pcap"
	fi
}
generate mix mix 1000000 20000
generate small small 2000000 200000
generate big big 500000 50
generate flows small 3000000 1000000

# run TOOL COMMAND...: adds the seconds and MiB of one run to what is known of a
# tool, or "-" where it is not there, fails or is too slow; then it has no more.
run() {
	local tool=$1 start
	shift
	if grep -qs -- - "$folder/$tool.runs"; then
		return
	fi
	start=${EPOCHREALTIME/./}
	if command -v "$1" >/dev/null && /usr/bin/time -o "$folder/time" -f %M timeout "$limit" "$@" >/dev/null 2>&1; then
		echo $((${EPOCHREALTIME/./} - start)) "$(tail -n 1 "$folder/time")" >>"$folder/$tool.runs"
	else
		echo - >>"$folder/$tool.runs"
	fi
}

# of TOOL: its median of seconds and its peak of MiB.
of() {
	if grep -q -- - "$folder/$1.runs"; then
		echo "- -"
		return
	fi
	sort -n "$folder/$1.runs" | awk '
		{ us[NR] = $1; if ($2 > peak) peak = $2 }
		END { printf "%.3f %d\n", us[int((NR + 1) / 2)] / 1e6, peak / 1024 }'
}

command -v /usr/bin/time >/dev/null || { echo "this needs /usr/bin/time (Debian package time)" >&2; exit 1; }
echo "$(nproc) processors, $(uname -m), median of $runs runs: seconds (peak MiB), and how many times as long as exspan"
tools=(tcpdump softflowd ndpiReader tshark)
printf '%-7s %-28s' capture exspan
printf ' %-28s' "${tools[@]}"
echo
for name in mix small big flows; do
	file=$folder/$name.pcap
	cat "$file" >/dev/null # into the page cache
	rm -f "$folder"/*.runs
	# In turn, as a machine can be faster in one minute than in the next.
	for _ in $(seq "$runs"); do
		run exspan "$exspan" analyze --quiet "$file"
		run tcpdump tcpdump -r "$file" -w /dev/null
		run softflowd softflowd -r "$file" -6 -T vlan -m 4000000 -d -c none
		run ndpiReader ndpiReader -i "$file" -q
		run tshark tshark -r "$file" -q -z conv,tcp
	done
	read -r own peak < <(of exspan)
	printf '%-7s %-28s' "$name" "$own ($peak)"
	for tool in "${tools[@]}"; do
		read -r seconds peak < <(of "$tool")
		if [ "$seconds" = - ] || [ "$own" = - ]; then
			printf ' %-28s' -
		else
			printf ' %-28s' "$seconds ($peak) x $(awk -v a="$seconds" -v b="$own" 'BEGIN { printf "%.2f", a / (b > 0 ? b : 0.01) }')"
		fi
	done
	echo
done
