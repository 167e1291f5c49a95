#!/bin/sh
# After removal; a purge (deb) takes what the service wrote too.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
if [ "$1" = purge ]; then
	rm -rf /var/lib/exspan /var/lib/private/exspan /var/log/exspan /var/log/private/exspan
fi
