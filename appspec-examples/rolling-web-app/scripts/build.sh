#!/bin/sh
# Makes what the program needs beside the installed files.
set -eu
. "$(dirname "$0")/common.sh"

tr a-z A-Z <"$webapp/app/greeting.txt" >"$webapp/greeting.built"
journal "built"
