#!/bin/sh
# Writes down which deployment the files are of, for whoever looks at the host.
set -eu

echo "$DEPLOYMENT_ID of $APPLICATION_NAME/$DEPLOYMENT_GROUP_NAME" >/srv/example/deployed
cat /srv/example/deployed
