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

# measure COMMAND...: "MEDIAN-SECONDS PEAK-MIB", or "- -" for a tool that is
# not there, fails or is too slow.
measure() {
	if ! command -v "$1" >/dev/null; then
		echo "- -"
		return
	fi
	local start times=() peak=0 kib
	for _ in $(seq "$runs"); do
		start=${EPOCHREALTIME/./}
		if ! /usr/bin/time -o "$folder/time" -f %M timeout "$limit" "$@" >/dev/null 2>&1; then
			echo "- -"
			return
		fi
		times+=($((${EPOCHREALTIME/./} - start)))
		kib=$(tail -n 1 "$folder/time")
		if ((kib > peak)); then peak=$kib; fi
	done
	printf '%s\n' "${times[@]}" | sort -n | sed -n "$(((runs + 1) / 2))p" |
		awk -v peak=$((peak / 1024)) '{ printf "%.3f %d\n", $1 / 1e6, peak }'
}

command -v /usr/bin/time >/dev/null || { echo "this needs /usr/bin/time (Debian package time)" >&2; exit 1; }
echo "$(nproc) processors, $(uname -m), median of $runs runs: seconds (peak MiB), and how many times as long as exspan"
printf '%-7s %-28s' capture exspan
printf ' %-28s' tcpdump softflowd ndpiReader tshark
echo
for name in mix small big flows; do
	file=$folder/$name.pcap
	cat "$file" >/dev/null # into the page cache
	read -r own own_peak < <(measure "$exspan" analyze --quiet "$file")
	printf '%-7s %-28s' "$name" "$own ($own_peak)"
	for tool in tcpdump softflowd ndpiReader tshark; do
		case $tool in
		tcpdump) command=(tcpdump -r "$file" -w /dev/null) ;;
		softflowd) command=(softflowd -r "$file" -6 -T vlan -m 4000000 -d -c none) ;;
		ndpiReader) command=(ndpiReader -i "$file" -q) ;;
		tshark) command=(tshark -r "$file" -q -z conv,tcp) ;;
		esac
		read -r seconds peak < <(measure "${command[@]}")
		if [ "$seconds" = - ] || [ "$own" = - ]; then
			printf ' %-28s' -
		else
			printf ' %-28s' "$seconds ($peak) x $(awk -v a="$seconds" -v b="$own" 'BEGIN { printf "%.2f", a / (b > 0 ? b : 0.01) }')"
		fi
	done
	echo
done
