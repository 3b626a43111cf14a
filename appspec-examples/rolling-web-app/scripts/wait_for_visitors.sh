#!/bin/sh
# Visitors who are still here may finish. The AppSpec bounds the wait.
set -eu
. "$(dirname "$0")/common.sh"

while [ -e "$webapp/visitors" ]; do sleep 0.2; done
journal "the last visitor has gone"
