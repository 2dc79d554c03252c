# Shared by the build scripts of this folder; sourced, not run.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
# Every time stamp in what is built: the same inputs must give the same bytes.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1793491200}
export SOURCE_DATE_EPOCH TZ=UTC LC_ALL=C

fail() {
  echo "$(basename "$0"): $1" >&2
  exit 1
}

need() {
  for tool in "$@"; do
    command -v "$tool" >/dev/null || fail "$tool is missing; run tools/setup, or install the Debian package that has it"
  done
}

product_version() {
  sed -n 's/^  "version": "\(.*\)",$/\1/p' "$root/package.json"
}

# facts FILE JSON: what the control plane wants to know about a package.
facts() {
  printf '{ "version": "%s", "sizeBytes": %s, "sha256": "%s" }\n' "$(product_version)" \
    "$(stat -c %s "$1")" "$(sha256sum "$1" | cut -d' ' -f1)" >"$2.new"
  mv "$2.new" "$2"
}

# same_times DIR: gives everything below one time stamp.
same_times() {
  find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}
