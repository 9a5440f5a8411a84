#!/usr/bin/env bash
#
# Makes sure that the Debian packages which a task needs are there, and installs those that are not.
#
#   tools/deps.sh [GROUP...]          build (default), test, lint, bench
#   tools/deps.sh guest-kernel DIR    unpacks a Linux kernel for test guests into DIR; installs nothing.
#                                     Prints the path of the kernel image; its modules are in DIR/lib/modules.
#
# Quick and silent when nothing is missing. Needs root or a sudo that does not ask, and only when something is.
set -euo pipefail

build=(
	gcc libc6-dev make meson ninja-build pkg-config python3
	liburing-dev libjansson-dev uuid-dev libsqlite3-dev libnbd-dev libiscsi-dev libmicrohttpd-dev
	libcurl4-openssl-dev libsystemd-dev
)
test=(
	"${build[@]}" libcmocka-dev clang llvm libclang-rt-14-dev
	python3-pytest python3-libnbd libnbd-bin nbdkit qemu-utils qemu-system-common qemu-system-x86 fio tgt
	libiscsi-bin busybox-static cpio e2fsprogs sqlite3 iproute2 nftables man-db curl
)
lint=("${build[@]}" clang clang-format g++ shellcheck libcmocka-dev man-db)
bench=("${build[@]}" nbdkit qemu-system-common qemu-utils fio libnbd-bin libcmocka-dev)

say() {
	printf 'deps: %s\n' "$*" >&2
}

die() {
	say "$*"
	exit 1
}

# The names of those packages, among the arguments, that are not installed.
missing() {
	local -A have=()
	local name status

	while read -r name status; do
		if [[ $status == installed ]]; then
			have[${name%%:*}]=1
		fi
		# dpkg-query fails when it knows nothing of one of them; what it does know is what counts
	done < <(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null || true)
	for name in "$@"; do
		if [[ -z ${have[$name]:-} ]]; then
			printf '%s\n' "$name"
		fi
	done
}

as_root() {
	if [[ $(id -u) -eq 0 ]]; then
		"$@"
	else
		sudo -n "$@"
	fi
}

# Runs a command again after an update of the package lists: lists that are old name files that are gone.
with_fresh_lists() {
	local try

	"$@" && return 0
	for try in 1 2 3; do
		say "updating the package lists (try $try)"
		if as_root apt-get -q update >&2 && "$@"; then
			return 0
		fi
		sleep "$try"
	done
	return 1
}

install_packages() {
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends \
		-o DPkg::Lock::Timeout=300 install "$@" >&2
}

# tgt's package starts a target on a public port; the tests start their own on loopback.
stop_started_services() {
	if [[ " $* " == *" tgt "* && -d /run/systemd/system ]]; then
		as_root systemctl disable --now tgt.service >&2 || true
	fi
}

install_groups() {
	local -a wanted=() lacking=()
	local group

	for group in "$@"; do
		case $group in
		build) wanted+=("${build[@]}") ;;
		test) wanted+=("${test[@]}") ;;
		lint) wanted+=("${lint[@]}") ;;
		bench) wanted+=("${bench[@]}") ;;
		*) die "there is no group \"$group\": build, test, lint, bench" ;;
		esac
	done
	mapfile -t lacking < <(missing "${wanted[@]}" | sort -u)
	if [[ ${#lacking[@]} -eq 0 ]]; then
		return 0
	fi
	say "installing ${lacking[*]}"
	if [[ $(id -u) -ne 0 ]] && ! sudo -n true 2>/dev/null; then
		die "not root, and sudo is missing or asks for a password. Run this once by hand:
    sudo apt-get install --no-install-recommends ${lacking[*]}"
	fi
	with_fresh_lists install_packages "${lacking[@]}" || die "apt-get could not install: ${lacking[*]}"
	stop_started_services "${lacking[@]}"
}

download_kernel() {
	local package

	package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null |
		awk '$1 == "Depends:" && $2 ~ /^linux-image-[0-9]/ {print $2; exit}')
	[[ -n $package ]] && (cd "$1" && apt-get -q -o APT::Sandbox::User=root download "$package" >&2)
}

guest_kernel() {
	local dir=$1
	local work

	mkdir -p "$dir"
	exec 9>"$dir/.lock"
	flock 9
	if ! compgen -G "$dir/boot/vmlinuz-*" >/dev/null; then
		work=$(mktemp -d "$dir/.unpack.XXXXXX")
		# shellcheck disable=SC2064 # the directory of now is meant
		trap "rm -rf '$work'" EXIT
		say "fetching a kernel for test guests into $dir"
		with_fresh_lists download_kernel "$work" || die "apt-get could not download linux-image-cloud-amd64"
		dpkg -x "$work"/linux-image-*.deb "$work/root"
		rm -rf "${dir:?}/lib" "${dir:?}/boot"
		# boot/ comes last: it is what says that all is there
		mv "$work/root/lib" "$dir/lib"
		mv "$work/root/boot" "$dir/boot"
	fi
	compgen -G "$dir/boot/vmlinuz-*" | head -n 1
}

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
	die "this is not a Debian system. Install by hand what the lists at the top of tools/deps.sh name, and go on with meson."
fi
if [[ ${1:-} == guest-kernel ]]; then
	[[ $# -eq 2 ]] || die "usage: tools/deps.sh guest-kernel DIR"
	guest_kernel "$2"
else
	install_groups "${@:-build}"
fi
