#!/bin/sh
# A migration that cannot be done.
set -eu

echo "reading the schema of $APPLICATION_NAME"
echo "connecting to the database"
echo "the database refuses: too many connections (64 of 64)" >&2
exit 75
