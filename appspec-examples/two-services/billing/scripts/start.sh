#!/bin/sh
set -eu

echo "$DEPLOYMENT_ID" >/srv/example/services/billing.running
echo "billing runs for the group $DEPLOYMENT_GROUP_ID"
