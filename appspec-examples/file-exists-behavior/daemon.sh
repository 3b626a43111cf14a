#!/bin/sh
. /srv/example/daemon/etc/daemon.conf
