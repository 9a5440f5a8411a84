#!/bin/sh
# Builds the test guest: Debian's cloud kernel and an initramfs with busybox and verify.c.
# usage: build.sh OUTPUT_DIRECTORY    (the unpacked kernel package is kept there as a cache)
set -eu

here=$(cd "$(dirname "$0")" && pwd)
out=$1
mkdir -p "$out"
out=$(cd "$out" && pwd)

# Concurrent test runs share the directory.
exec 9>"$out/lock"
flock 9

package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
if [ ! -e "$out/kernel/complete" ]; then
	if [ -z "$package" ]; then
		apt-get update -qq
		package=$(apt-cache depends linux-image-cloud-amd64 |
			sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
	fi
	rm -rf "$out/kernel"
	mkdir "$out/kernel"
	# The list of packages may be older than what the mirror still has.
	(cd "$out/kernel" && { apt-get download -qq -o APT::Sandbox::User=root "$package" || { apt-get update -qq && apt-get download -qq -o APT::Sandbox::User=root "$package"; }; })
	dpkg -x "$out"/kernel/linux-image-*.deb "$out/kernel/root"
	rm "$out"/kernel/linux-image-*.deb
	touch "$out/kernel/complete"
fi

if [ "$out/initrd.img" -nt "$here/init" ] && [ "$out/initrd.img" -nt "$here/verify.c" ] &&
	[ "$out/initrd.img" -nt "$here/build.sh" ] && [ "$out/initrd.img" -nt "$out/kernel/complete" ]; then
	exit 0
fi

tree=$out/tree
rm -rf "$tree"
mkdir -p "$tree/bin" "$tree/modules"
cp /bin/busybox "$tree/bin/busybox"
cp "$here/init" "$tree/init"
${CC:-cc} -std=gnu17 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -static -pthread -o "$tree/bin/verify" "$here/verify.c"
for module in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk virtio_console; do
	find "$out/kernel/root/lib/modules" -name "$module.ko" -exec cp {} "$tree/modules/" \;
done
cp "$out"/kernel/root/boot/vmlinuz-* "$out/vmlinuz"
(cd "$tree" && find . | cpio -o -H newc --quiet | gzip -1) >"$out/initrd.tmp"
mv "$out/initrd.tmp" "$out/initrd.img"
