#!/bin/sh
set -eu

rm -f /srv/example/services/billing.running
echo "billing is stopped"
