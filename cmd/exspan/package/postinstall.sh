#!/bin/sh
# After installation and upgrade; a service that runs is restarted.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	systemctl try-restart exspan.service || true
fi
