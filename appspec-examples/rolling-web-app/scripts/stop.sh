#!/bin/sh
# Stops the program; this one is stopped when its mark is gone.
set -eu
. "$(dirname "$0")/common.sh"

rm -f "$webapp/running"
journal "stopped"
