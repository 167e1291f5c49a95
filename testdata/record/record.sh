#!/bin/bash
# Records the captures of testdata/ anew: record.sh rpc|mail|web|directory|um|org|all OUTDIR
# Needs root and a Debian machine; installs the packages it misses. Works in network namespaces named
# exspan-* and ends every process it started there. Set KEEP=1 to keep the working folder, VERBOSE=1 to see each step.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
[ $# -eq 2 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "root is needed to make network namespaces" >&2; exit 2; }
case $1 in
rpc | mail | web | directory | um | org) suites=$1 ;;
all) suites="rpc mail web directory um org" ;;
*) echo "unknown recording: $1" >&2; exit 2 ;;
esac
for s in $suites; do
    bash "$here/$s.sh" "$2"
done
