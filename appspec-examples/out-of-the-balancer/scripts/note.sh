#!/bin/sh
# Writes down which event it is and whether the balancer sends visitors at that moment.
set -eu
balancer=/srv/example/balancer
mkdir -p "$balancer"
if [ -e "$balancer/this-host" ]; then visitors=yes; else visitors=no; fi
echo "$LIFECYCLE_EVENT: visitors come: $visitors" | tee -a "$balancer/journal"
