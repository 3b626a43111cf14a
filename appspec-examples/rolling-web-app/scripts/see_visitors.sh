#!/bin/sh
# The last word: is the host in service?
set -eu
. "$(dirname "$0")/common.sh"

grep -q ok "$webapp/health"
journal "in service"
