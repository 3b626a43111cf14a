#!/bin/sh
# Copies what was installed to the colour that nobody is served by.
set -eu
. "$(dirname "$0")/colours.sh"

rm -rf "${shop:?}/$idle"
cp -a "$shop/incoming" "$shop/$idle"
echo "$DEPLOYMENT_ID" >"$shop/$idle/deployment"
echo "$idle is filled, $live is live"
