#!/bin/sh
# Without its health page the host gets no new visitors.
set -eu
. "$(dirname "$0")/common.sh"

rm -f "$webapp/health"
journal "left the balancer"
