#!/bin/sh
set -eu

echo "$DEPLOYMENT_ID" >/srv/example/services/orders.running
echo "orders runs for the group $DEPLOYMENT_GROUP_ID"
