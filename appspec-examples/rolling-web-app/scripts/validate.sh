#!/bin/sh
# Asks the program itself, while no visitor can see it.
set -eu
. "$(dirname "$0")/common.sh"

[ "$(cat "$webapp/running")" = "$DEPLOYMENT_ID" ]
grep -q HELLO "$webapp/greeting.built"
journal "it answers"
