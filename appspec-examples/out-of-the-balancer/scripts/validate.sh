#!/bin/sh
# Fails while there is a file "broken": then the host does not go back to its visitors.
set -eu
"$(dirname "$0")/note.sh"
[ ! -e /srv/example/broken ]
