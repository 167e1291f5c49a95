#!/bin/sh
# Before removal, not before an upgrade.
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
	deb-systemd-invoke stop exspan.service >/dev/null || true
fi
