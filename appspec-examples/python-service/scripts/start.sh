#!/bin/sh
# Starts the service and leaves it running.
set -eu

service=/srv/example/service
mkdir -p "$service/run"
rm -f "$service/run/port"

# The program outlives this script. With a session of its own it gets no signal that is meant for the script, and with
# outputs of its own nothing that it writes belongs to the deployment any more.
setsid python3 "$service/bin/service.py" "$service/run" </dev/null >>"$service/run/log" 2>&1 &
echo $! >"$service/run/pid"
echo "started as process $!"
