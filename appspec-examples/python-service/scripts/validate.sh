#!/bin/sh
# Waits until the service answers. It needs no limit of its own: the AppSpec has one.
set -eu

port_file=/srv/example/service/run/port
while [ ! -f "$port_file" ]; do sleep 0.1; done
python3 - "$(cat "$port_file")" <<'END'
import sys, urllib.request

opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
print(opener.open(f"http://127.0.0.1:{sys.argv[1]}/", timeout=5).read().decode().strip())
END
