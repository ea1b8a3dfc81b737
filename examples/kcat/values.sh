#!/bin/sh
# Writes the values of a topic's committed records as they are, framing included: for each its length in four bytes, then it.
# Run: values.sh localhost:9092 cs2.match.updated > values.bin
set -eu
exec kcat -C -q -e -b "$1" -t "$2" -o beginning -X isolation.level=read_committed -D '' -f '%R%s'
