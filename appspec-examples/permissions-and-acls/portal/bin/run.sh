#!/bin/sh
echo "the portal would run now"
