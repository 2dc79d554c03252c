#!/bin/sh
# Builds OUT/agent.iso, what shadow VMs boot: kernel, initramfs and the static replicator as a plain file.
# It holds no secret and nothing of a particular installation.
. "$(dirname "$0")/lib.sh"
out=${1:?usage: build-agent-iso.sh OUT}
here=$(cd "$(dirname "$0")" && pwd)
replicator=${REPLICATOR:-$root/build/replicator}
size_bytes_max=$((40 * 1024 * 1024))
PATH=$PATH:/usr/sbin:/sbin
need busybox cpio gzip xorriso mke2fs e2fsck ldd sha256sum
[ -x "$replicator" ] || fail "there is no program at $replicator; run tools/setup"
for file in /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32; do
  [ -f "$file" ] || fail "$file is missing; install isolinux and syslinux-common"
done
mkdir -p "$out"
out=$(cd "$out" && pwd)

# Disks and CD-ROMs of vSphere and of QEMU, file systems, network adapters.
kernel=$("$here/fetch-kernel.sh" \
  sd_mod sr_mod ahci ata_piix vmw_pvscsi mptspi mptsas virtio_pci virtio_scsi nvme \
  isofs crc32c_generic ext4 \
  vmxnet3 e1000 e1000e virtio_net)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
initramfs=$work/initramfs
mkdir -p "$initramfs/bin" "$initramfs/sbin" "$initramfs/dev" "$initramfs/proc" "$initramfs/sys" "$initramfs/run" "$initramfs/state" \
  "$initramfs/media" "$initramfs/modules" "$initramfs/etc"
install -m 755 "$(command -v busybox)" "$initramfs/bin/busybox"
ln -s busybox "$initramfs/bin/sh"
install -m 755 "$here/init" "$initramfs/init"
install -m 755 "$here/link-disks" "$here/use-address" "$initramfs/bin/"
cp "$kernel"/modules/*.ko "$initramfs/modules/"
cp "$kernel/order" "$initramfs/etc/modules"
# busybox makes ext2 only; the state disk must survive a power cut, so the real tools with their libraries come along.
for tool in mke2fs e2fsck; do
  path=$(command -v "$tool")
  install -m 755 "$path" "$initramfs/sbin/$tool"
  ldd "$path" | grep -o '/[^ ]*' | while read -r library; do
    install -D -m 755 "$(readlink -f "$library")" "$initramfs$library"
  done
done
# The time of a file system check is judged by the machine's clock: without this, a clock that went back stops the boot.
printf '[options]\nbroken_system_clock = true\n' >"$initramfs/etc/e2fsck.conf"
printf '[defaults]\nbase_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr\n' >"$initramfs/etc/mke2fs.conf"
printf '[fs_types]\next4 = {\n  features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize\n}\n' \
  >>"$initramfs/etc/mke2fs.conf"
same_times "$initramfs"

tree=$work/tree
mkdir -p "$tree/isolinux" "$tree/landfall"
(cd "$initramfs" && find . | sort | cpio -o -H newc -R 0:0 --reproducible --quiet) | gzip -9n >"$tree/isolinux/initrd.gz"
cp "$kernel/vmlinuz" "$tree/isolinux/vmlinuz"
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$tree/isolinux/"
cat >"$tree/isolinux/isolinux.cfg" <<'MENU'
SERIAL 0 115200
DEFAULT agent
PROMPT 0
TIMEOUT 0
LABEL agent
  KERNEL vmlinuz
  INITRD initrd.gz
  APPEND console=tty0 console=ttyS0,115200 quiet panic=10
MENU
install -m 755 "$replicator" "$tree/landfall/replicator"
printf '{ "version": "%s", "replicatorSha256": "%s" }\n' "$(product_version)" "$(sha256sum "$replicator" | cut -d' ' -f1)" \
  >"$tree/landfall/version.json"
chmod 644 "$tree"/isolinux/* "$tree/landfall/version.json"
same_times "$tree"

xorriso -as mkisofs -quiet -V LANDFALL_AGENT -o "$work/agent.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat \
  -no-emul-boot -boot-load-size 4 -boot-info-table -J -r "$tree" 2>"$work/log" || fail "xorriso failed: $(cat "$work/log")"
[ "$(stat -c %s "$work/agent.iso")" -le "$size_bytes_max" ] || fail "the ISO is larger than 40 MiB"
mv "$work/agent.iso" "$out/agent.iso"
facts "$out/agent.iso" "$out/agent.json"
