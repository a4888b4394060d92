#!/bin/sh
# Node with few descriptors: its first argument.
ulimit -n 64
exec "$@"
