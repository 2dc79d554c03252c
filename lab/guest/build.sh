#!/bin/sh
# Builds the lab's guest: build.sh OUT makes OUT/vmlinuz and OUT/initrd.gz from Debian's cloud kernel,
# busybox and the programs beside this script. Works as any user; installs nothing on the machine.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?usage: build.sh OUT}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/landfall/guest-kernel

fail() {
  echo "lab guest: $1" >&2
  exit 1
}
for tool in gcc cpio gzip dpkg-deb apt-get apt-cache sha256sum; do
  command -v "$tool" >/dev/null || fail "$tool is missing; install it (apt-get install gcc libc6-dev cpio)"
done
busybox=$(command -v busybox || true)
[ -n "$busybox" ] || fail "busybox is missing; install busybox-static"

package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null |
  awk '/Depends: linux-image-[0-9].*-cloud-amd64/ { print $2; exit }')
if [ -z "$package" ]; then
  package=$(ls "$cache" 2>/dev/null | sort -V | tail -n 1)
fi
[ -n "$package" ] || fail "no cloud kernel package is known; run apt-get update first"
version=${package#linux-image-}

stamp="$package $(cat "$here"/* "$busybox" | sha256sum | cut -c1-64)"
if [ -f "$out/vmlinuz" ] && [ -f "$out/initrd.gz" ] && [ "$(cat "$out/stamp" 2>/dev/null)" = "$stamp" ]; then
  exit 0
fi

kernel=$cache/$package
if [ ! -f "$kernel/boot/vmlinuz-$version" ]; then
  work=$(mktemp -d)
  (cd "$work" && apt-get download -qq -o APT::Sandbox::User=root "$package" >&2) || fail "apt-get download $package failed; run apt-get update"
  rm -rf "$kernel.new"
  mkdir -p "$kernel.new"
  dpkg-deb -x "$work"/*.deb "$kernel.new"
  rm -rf "$work" "$kernel"
  mv "$kernel.new" "$kernel"
fi

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/bin" "$root/dev" "$root/proc" "$root/sys" "$root/etc" "$root/data" "$root/modules"
cp "$busybox" "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
cp "$here/init" "$root/init"
cp "$here/shutdown-guest" "$root/bin/shutdown-guest"
chmod 755 "$root/init" "$root/bin/shutdown-guest"
for program in writer power-button; do
  gcc -static -Os -s -Wall -Wextra -Werror -o "$root/$program" "$here/$program.c" ||
    fail "cannot compile $program.c; is libc6-dev installed?"
done

# Modules in the order in which they must be loaded; what is built into the kernel is left out.
tree=$kernel/lib/modules/$version
dependencies=$tree/modules.dep
if [ ! -f "$dependencies" ]; then
  PATH=$PATH:/usr/sbin:/sbin depmod -b "$kernel" "$version" || fail "depmod is missing; install kmod"
fi
: >"$root/etc/modules"
add_module() {
  line=$(grep -E "/$1\.ko(\.xz)?:" "$dependencies" || true)
  [ -n "$line" ] || return 0
  own=${line%%:*}
  for file in $(echo "${line#*:}" | tr ' ' '\n' | tac) "$own"; do
    name=$(basename "$file" .ko)
    grep -qx "$name" "$root/etc/modules" && continue
    cp "$tree/$file" "$root/modules/$name.ko"
    strip --strip-debug "$root/modules/$name.ko"
    echo "$name" >>"$root/etc/modules"
  done
}
for module in evdev button sd_mod vmw_pvscsi virtio_pci virtio_scsi ext4 crc32c_generic vmxnet3 virtio_net; do
  add_module "$module"
done

(cd "$root" && find . | sort | cpio -o -H newc -R 0:0 --quiet) | gzip -6 >"$out/initrd.gz.new"
cp "$kernel/boot/vmlinuz-$version" "$out/vmlinuz"
mv "$out/initrd.gz.new" "$out/initrd.gz"
echo "$stamp" >"$out/stamp"
