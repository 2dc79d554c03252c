#!/bin/sh
# Builds the agent ISO and the host package into OUT, from build/replicator or the program given by REPLICATOR.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?usage: build.sh OUT}
"$here/build-host-package.sh" "$out"
"$here/build-agent-iso.sh" "$out"
