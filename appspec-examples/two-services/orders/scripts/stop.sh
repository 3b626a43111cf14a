#!/bin/sh
set -eu

rm -f /srv/example/services/orders.running
echo "orders is stopped"
