#!/bin/sh
# Starts the program.
set -eu
. "$(dirname "$0")/common.sh"

echo "$DEPLOYMENT_ID" >"$webapp/running"
journal "started"
