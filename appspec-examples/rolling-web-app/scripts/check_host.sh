#!/bin/sh
# Fails early, before a file has changed, where the host cannot take the new revision.
set -eu
. "$(dirname "$0")/common.sh"

[ -w "$webapp" ]
journal "the host is ready for $DEPLOYMENT_ID"
