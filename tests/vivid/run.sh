#!/usr/bin/env bash
# Runs the V4L2 back-end on a driver of the kernel: Debian's kernel with the module vivid (virtual
# cameras with faults on request), emulated by QEMU. Needs Debian (or a relative) with apt, and no
# camera, no KVM, no privilege to load modules here. About 120 MB of packages the first time.
#
#   tests/vivid/run.sh [LOG]
#
# Prints the machine's console (also to LOG) and exits with 0 when every check passed.
set -euo pipefail
cd "$(dirname "$0")/../.."
log=${1:-target/vivid/console.log}
work=target/vivid
mkdir -p "$work"
RUN_S_MAX=600

if [ "$(dpkg --print-architecture)" != amd64 ]; then
  echo "this script is for Debian on amd64" >&2
  exit 2
fi
need=()
command -v qemu-system-x86_64 >/dev/null || need+=(qemu-system-x86)
command -v cpio >/dev/null || need+=(cpio)
command -v depmod >/dev/null || [ -x /sbin/depmod ] || need+=(kmod)
[ -x /bin/busybox ] && ! ldd /bin/busybox >/dev/null 2>&1 || need+=(busybox-static)
if [ "${#need[@]}" -gt 0 ]; then
  apt-get update -q
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${need[@]}"
fi
PATH="$PATH:/sbin:/usr/sbin"

# The kernel moves with Debian's point releases.
if [ ! -f "$work/modules.list" ]; then
  image=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*-amd64\)$/\1/p' | head -1)
  rm -rf "$work/kernel" && mkdir -p "$work/kernel"
  (cd "$work" && apt-get download -q "$image")
  dpkg-deb -x "$work/$image"_*.deb "$work/kernel"
  version=$(ls "$work/kernel/lib/modules")
  depmod -b "$work/kernel" "$version"
  # vivid and what it needs, in the order of loading.
  deps="$work/kernel/lib/modules/$version/modules.dep"
  sed -n 's/^\(.*\/vivid\.ko[^:]*\): \(.*\)$/\1 \2/p' "$deps" | tr ' ' '\n' | tac |
    sed "s|^|$work/kernel/lib/modules/$version/|" > "$work/modules.list"
  cp "$work/kernel/boot/vmlinuz-$version" "$work/vmlinuz"
  echo "$version" > "$work/version"
  rm -f "$work/$image"_*.deb
fi

# The test as `cargo test` would build it, and the libraries it is linked with.
guest=$(cargo test -q -p crrd -p crrd-train --locked --no-run --test vivid --message-format=json |
  sed -n 's/.*"name":"vivid".*"executable":"\([^"]*\)".*/\1/p' | tail -1)
root="$work/root"
rm -rf "$root" && mkdir -p "$root"/{bin,dev,proc,sys,modules}
cp /bin/busybox "$root/bin/busybox"
strip -o "$root/bin/guest" "$guest"
ldd "$guest" | grep -o '/[^ ]*' | while read -r library; do
  mkdir -p "$root/$(dirname "$library")" && cp -L "$library" "$root/$library"
done
number=10
while read -r module; do
  case "$module" in *.xz) xz -dc "$module" > "$root/modules/$number-$(basename "$module" .xz)" ;;
  *) cp "$module" "$root/modules/$number-$(basename "$module")" ;; esac
  number=$((number + 1))
done < "$work/modules.list"
cat > "$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs none /dev
/bin/busybox mount -t proc none /proc
/bin/busybox mount -t sysfs none /sys
for module in /modules/*; do
  options=
  # Two cameras: one single-planar, one multi-planar; each is a webcam.
  case $module in *vivid*) options="n_devs=2 node_types=0x1,0x1 num_inputs=1,1 input_types=0,0 multiplanar=1,2" ;; esac
  /bin/busybox insmod $module $options || echo "FAIL module $module"
done
/bin/busybox uname -sr
CRRD_VIVID=1 RUST_BACKTRACE=0 /bin/guest --nocapture 2>&1
/bin/busybox poweroff -f
INIT
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) > "$work/root.gz"

mkdir -p "$(dirname "$log")"
began=$SECONDS
# Emulated: works where virtualisation is not available, too.
timeout "$RUN_S_MAX" qemu-system-x86_64 -accel tcg -cpu max -m 1024 -smp 2 -nic none -nographic \
  -no-reboot -kernel "$work/vmlinuz" -initrd "$work/root.gz" \
  -append "console=ttyS0 quiet panic=-1" < /dev/null | tr -d '\r' | tee "$log"

# The machine has no exit code: its last word counts.
verdict=$(grep -a '^VIVID ' "$log" | tail -1)
echo "kernel $(cat "$work/version"), $((SECONDS - began)) s: ${verdict:-the machine did not get to its end}"
[[ "$verdict" == *" 0 failed" ]] && ! grep -aq '^FAIL' "$log"
