#!/bin/sh
# Fails the deployment when the first page is not the one of this version.
set -eu

grep -q "<h1>Version 2</h1>" /srv/example/www/index.html
echo "the first page is the one of version 2"
