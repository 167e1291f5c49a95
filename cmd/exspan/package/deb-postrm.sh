#!/bin/sh
# After removal; a purge takes what the service wrote, too.
set -e
if [ "$1" = remove ]; then
	rm -f /etc/systemd/system/multi-user.target.wants/exspan.service
fi
if [ -d /run/systemd/system ]; then
	systemctl --system daemon-reload >/dev/null || true
fi
if [ "$1" = purge ]; then
	rm -rf /var/lib/exspan /var/lib/private/exspan /var/log/exspan /var/log/private/exspan
fi
