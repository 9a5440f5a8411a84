#!/usr/bin/env bash
# Builds the test guest: Debian's cloud kernel, and an initramfs with busybox, init and verify.c.
#   build.sh DIRECTORY      gives DIRECTORY/vmlinuz and DIRECTORY/initrd.img; does nothing when they are new enough
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
modules=(virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk virtio_console)

# Test runs at the same time share the directory.
exec 9>"$out/.build-lock"
flock 9

kernel=$("$here/../../tools/deps.sh" guest-kernel "$out/kernel" 9>&-)
new=yes
for source in "$here/init" "$here/verify.c" "$here/build.sh" "$kernel"; do
	if [[ ! $out/initrd.img -nt $source ]]; then
		new=no
	fi
done
if [[ $new == yes ]]; then
	exit 0
fi

tree=$out/tree
rm -rf "$tree"
mkdir -p "$tree/bin" "$tree/modules"
cp /bin/busybox "$tree/bin/busybox"
cp "$here/init" "$tree/init"
${CC:-cc} -std=gnu17 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -static -pthread -o "$tree/bin/verify" "$here/verify.c"
for module in "${modules[@]}"; do
	find "$out/kernel/lib/modules" -name "$module.ko" -exec cp {} "$tree/modules/" \;
done
ln -sf "kernel/boot/${kernel##*/}" "$out/vmlinuz"
(cd "$tree" && find . | cpio -o -H newc --quiet | gzip -1) >"$out/initrd.tmp"
# The name comes last: it says that all is there.
mv "$out/initrd.tmp" "$out/initrd.img"
