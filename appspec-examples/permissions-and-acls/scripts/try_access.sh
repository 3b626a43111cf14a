#!/bin/sh
# Runs as www-data and tries what that user may do.
set -eu

portal=/srv/example/portal
"$portal/bin/run.sh"
grep -q password "$portal/etc/portal.conf"
echo "written by $(id -un) in $LIFECYCLE_EVENT" >"$portal/reports/$DEPLOYMENT_ID.txt"

if (echo >>"$portal/etc/portal.conf") 2>/dev/null; then
    echo "$(id -un) can change its own configuration" >&2
    exit 1
fi
echo "$(id -un) can do what it should, and no more"
