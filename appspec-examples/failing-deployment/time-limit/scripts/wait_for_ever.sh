#!/bin/sh
# Waits for a file that nobody makes.
set -eu

echo "waiting for /srv/example/database/ready"
while [ ! -e /srv/example/database/ready ]; do sleep 0.2; done
