#!/bin/sh
# Turns the visitors to the new colour in one step.
set -eu
. "$(dirname "$0")/colours.sh"

ln -sfn "$idle" "$shop/live.new"
mv -T "$shop/live.new" "$shop/live"
echo "$idle is live now, $live waits"
