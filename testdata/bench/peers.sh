#!/bin/bash
# Times exspan against other tools and prints the ratios of the medians. The
# captures are four synthetic ones and "real": the bundled recordings, and those
# below EXSPAN_CORPUS if it is set, repeated with other addresses each time.
# Absolute times differ from machine to machine and from run to run: compare only
# ratios measured in one run, while next to no time is stolen. Tools that are not
# installed are skipped.
#
#   testdata/bench/peers.sh [EXSPAN [FOLDER]]
#
# FOLDER keeps the captures between runs (2.3 GB; default: under the temporary
# folder). RUNS is the number of runs a tool and capture (default 15), LIMIT the
# seconds after which a slow tool is stopped (default 20), TOOLS the other tools
# and CAPTURES the captures to use (default: all).
set -euo pipefail
cd "$(dirname "$0")/../.."

exspan=$(realpath "${1:-bin/exspan}")
folder=${2:-${TMPDIR:-/tmp}/exspan-bench}
runs=${RUNS:-15}
limit=${LIMIT:-20}
read -ra tools <<<"${TOOLS:-tcpdump softflowd ndpiReader tshark}"
read -ra captures <<<"${CAPTURES:-mix small big flows real}"
mkdir -p "$folder"

generate() { # NAME MODE PACKETS FLOWS [FILE...]
	local name=$1 mode=$2 packets=$3 flows=$4
	shift 4
	if [[ " ${captures[*]} " == *" $name "* && ! -s $folder/$name.pcap ]]; then
		go run ./testdata/bench/gen "$mode" "$packets" "$flows" "$folder/$name.pcap.new" "$@"
		mv "$folder/$name.pcap.new" "$folder/$name.pcap"
	fi
}
generate mix mix 1000000 20000
generate small small 2000000 200000
generate big big 500000 50
generate flows small 3000000 1000000
generate real real 1000000 50000 testdata/*.pcapng ${EXSPAN_CORPUS:+"$EXSPAN_CORPUS"}

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

# stolen: clock ticks that the host kept from this machine so far, and all of them.
stolen() { awk '/^cpu / { for (i = 2; i <= 9; i++) all += $i; print $9, all }' /proc/stat; }

command -v /usr/bin/time >/dev/null || { echo "this needs /usr/bin/time (Debian package time)" >&2; exit 1; }
read -r stolen0 all0 < <(stolen)
echo "$(nproc) processors, $(uname -m), load $(cut -d ' ' -f 1-3 /proc/loadavg)"
echo "median of $runs runs in turn: seconds (peak MiB), and the time of exspan over that of the tool"
printf '%-7s %-18s' capture exspan
printf ' %-26s' "${tools[@]}"
echo
for name in "${captures[@]}"; do
	file=$folder/$name.pcap
	cat "$file" >/dev/null # into the page cache
	rm -f "$folder"/*.runs
	# In turn, as a machine can be faster in one minute than in the next.
	for _ in $(seq "$runs"); do
		run exspan "$exspan" analyze --quiet "$file"
		for tool in "${tools[@]}"; do
			case $tool in
			tcpdump) run tcpdump tcpdump -r "$file" -w /dev/null ;;
			softflowd) run softflowd softflowd -r "$file" -6 -T vlan -m 4000000 -d -c none ;;
			ndpiReader) run ndpiReader ndpiReader -i "$file" -q ;;
			tshark) run tshark tshark -r "$file" -q -z conv,tcp ;;
			esac
		done
	done
	read -r own peak < <(of exspan)
	printf '%-7s %-18s' "$name" "$own ($peak)"
	for tool in "${tools[@]}"; do
		read -r seconds peak < <(of "$tool")
		if [ "$seconds" = - ] || [ "$own" = - ]; then
			printf ' %-26s' -
		else
			printf ' %-26s' "$seconds ($peak) $(awk -v own="$own" -v peer="$seconds" 'BEGIN { printf "%.2f", own / (peer > 0 ? peer : 0.01) }')"
		fi
	done
	echo
done
read -r stolen1 all1 < <(stolen)
awk -v stolen=$((stolen1 - stolen0)) -v all=$((all1 - all0)) -v load="$(cut -d ' ' -f 1-3 /proc/loadavg)" \
	'BEGIN { printf "stolen from the machine meanwhile: %.1f %% of its time; load now %s\n", 100 * stolen / all, load }'
