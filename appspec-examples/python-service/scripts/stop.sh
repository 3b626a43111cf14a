#!/bin/sh
# Stops the service if it runs, and waits until it is gone.
set -eu

run=/srv/example/service/run
if [ ! -f "$run/pid" ]; then
    echo "it was never started"
    exit 0
fi
pid=$(cat "$run/pid")

# A process id alone proves nothing: after a restart of the host it may be somebody else's.
if ! tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q "$run"; then
    echo "process $pid is not the service; nothing to stop"
else
    kill "$pid"
    while [ -d "/proc/$pid" ]; do sleep 0.1; done # the time limit in the AppSpec bounds this
    echo "process $pid is stopped"
fi
rm -f "$run/pid" "$run/port"
