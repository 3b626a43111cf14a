#!/bin/sh
# Fails the deployment, and leaves the old colour live, when the new one is not whole.
set -eu
. "$(dirname "$0")/colours.sh"

[ "$(cat "$shop/$idle/deployment")" = "$DEPLOYMENT_ID" ]
[ -s "$shop/$idle/catalogue.txt" ]
echo "$idle is whole"
