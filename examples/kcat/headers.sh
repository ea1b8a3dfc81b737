#!/bin/sh
# Prints topic, partition, offset, timestamp, key, headers and the length of the value of each committed record, with kcat.
# Run: headers.sh localhost:9092 cs2.match.updated
# Debian's kcat is built without Avro: for decoded values see the examples in Python and Java, or `feedbridge tail`.
set -eu
exec kcat -C -q -e -b "$1" -t "$2" -o beginning -X isolation.level=read_committed \
    -f '%t\t%p\t%o\t%T\t%k\t%h\t%S\n'
