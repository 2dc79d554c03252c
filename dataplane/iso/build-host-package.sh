#!/bin/sh
# Builds OUT/landfall-host.vib, what hosts install: an ar archive of descriptor, signature slot and payload.
# It signs nothing: ESXi takes it only with a partner's signature in sig.pkcs7, or where the acceptance level is lowered.
. "$(dirname "$0")/lib.sh"
out=${1:?usage: build-host-package.sh OUT}
replicator=${REPLICATOR:-$root/build/replicator}
need ar tar gzip sha256sum
[ -x "$replicator" ] || fail "there is no program at $replicator; run tools/setup"
mkdir -p "$out"
out=$(cd "$out" && pwd)
version=$(product_version)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/payload/bin" "$work/package"
install -m 755 "$replicator" "$work/payload/bin/replicator"
tar -C "$work/payload" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -cf - bin |
  gzip -9n >"$work/package/replicator.tgz"
: >"$work/package/sig.pkcs7"
cat >"$work/package/descriptor.xml" <<DESCRIPTOR
<vib version="5.0">
  <type>bootbank</type>
  <name>landfall-replicator</name>
  <version>$version</version>
  <vendor>Landfall</vendor>
  <summary>Landfall write tap and replicator</summary>
  <description>Follows the writes of virtual disks with the Network Migration storage policy and replicates them.</description>
  <release-date>$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)</release-date>
  <urls/>
  <relationships><depends/><conflicts/><replaces/><provides/><compatibleWith/></relationships>
  <software-tags><tag>iofilter</tag></software-tags>
  <system-requires><maintenance-mode>false</maintenance-mode></system-requires>
  <file-list><file>bin/replicator</file></file-list>
  <acceptance-level>community</acceptance-level>
  <live-install-allowed>true</live-install-allowed>
  <live-remove-allowed>true</live-remove-allowed>
  <cimom-restart>false</cimom-restart>
  <stateless-ready>true</stateless-ready>
  <overlay>false</overlay>
  <payloads>
    <payload name="replicator.tgz" type="tgz" size="$(stat -c %s "$work/package/replicator.tgz")">
      <checksum checksum-type="sha-256">$(sha256sum "$work/package/replicator.tgz" | cut -d' ' -f1)</checksum>
    </payload>
  </payloads>
</vib>
DESCRIPTOR
(cd "$work/package" && ar rcD "$work/host.vib" descriptor.xml sig.pkcs7 replicator.tgz)
chmod 644 "$work/host.vib"
mv "$work/host.vib" "$out/landfall-host.vib"
facts "$out/landfall-host.vib" "$out/host-package.json"
