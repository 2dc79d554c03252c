#!/bin/sh
# fetch-kernel.sh MODULE...: fetches Debian's generic kernel package once and prints a folder that holds vmlinuz, the named
# modules with all they need (modules/), and the order in which to load them (order). Installs nothing on this machine.
. "$(dirname "$0")/lib.sh"
need apt-get apt-cache dpkg-deb depmod modprobe strip
cache=${XDG_CACHE_HOME:-$HOME/.cache}/landfall/agent-kernel
wanted=$(echo "$*" | sha256sum | cut -c1-16)

package=$(apt-cache depends linux-image-amd64 2>/dev/null |
  awk '/Depends: linux-image-[0-9].*-amd64/ { print $2; exit }')
if [ -z "$package" ]; then
  kept=$(ls -d "$cache"/*-"$wanted" 2>/dev/null | sort -V | tail -n 1)
  [ -n "$kept" ] || fail "no generic kernel package is known; run apt-get update first"
  echo "$kept"
  exit 0
fi
kept=$cache/$package-$wanted
if [ -f "$kept/order" ]; then
  echo "$kept"
  exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && apt-get download -qq -o APT::Sandbox::User=root "$package" >&2) ||
  fail "$package could not be downloaded; run apt-get update"
dpkg-deb -x "$work"/*.deb "$work/tree"
version=${package#linux-image-}
depmod -b "$work/tree" "$version"
mkdir -p "$work/kept/modules" "$cache"
cp "$work/tree/boot/vmlinuz-$version" "$work/kept/vmlinuz"
for module in "$@"; do
  modprobe -d "$work/tree" -S "$version" --show-depends "$module" >"$work/depends" || fail "$package has no module $module"
  awk '$1 == "insmod" { print $2 }' "$work/depends"
done | awk '!seen[$0]++' | while read -r file; do
  name=$(basename "$file")
  strip --strip-debug -o "$work/kept/modules/$name" "$file"
  echo "$name"
done >"$work/kept/order.new"
mv "$work/kept/order.new" "$work/kept/order"
rm -rf "$kept"
cp -r "$work/kept" "$kept.$$"
mv -T "$kept.$$" "$kept"
echo "$kept"
