#!/bin/sh
# Fails the deployment when the first page names a file that is not there.
set -eu

cd /srv/example/www
sed -n 's/.*href="\([^"]*\)".*/\1/p' index.html | while read -r link; do
    if [ ! -e "$link" ]; then
        echo "index.html links to $link, which is not in the site"
        exit 1
    fi
    echo "$link is there"
done
