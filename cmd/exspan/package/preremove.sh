#!/bin/sh
# Before removal, not before an upgrade.
set -e
if [ "$1" = 0 ] && [ -d /run/systemd/system ]; then
	systemctl disable --now exspan.service || true
fi
