#!/bin/sh
# After installation and upgrade; a service that runs is restarted, as far as
# policy-rc.d(8) lets it.
set -e
if [ "$1" = configure ] && [ -d /run/systemd/system ]; then
	systemctl --system daemon-reload >/dev/null || true
	if [ -n "$2" ]; then
		deb-systemd-invoke restart exspan.service >/dev/null || true
	fi
fi
