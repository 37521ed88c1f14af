#!/usr/bin/env bash
# Runs the tests of memory on a kernel that has cgroup v2, in an emulated machine that sees this one's files read-only: for
# machines whose own kernel mounts v1. Debian on x86-64. The environment of the tests is the argument, what pytest is to
# choose the second one (-k).
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1
# Gunicorn wants to write somewhere.
choice=${2:-not gunicorn}
work=$PODICORN_CACHE/podicorn-cgroup-v2
mkdir -p "$work/kernel" "$work/image"

package=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -1)
if [ ! -e "$work/kernel/$package" ]; then
    echo "Fetching the Debian package $package" >&2
    (cd "$work" && apt-get download -qq "$package" && dpkg -x "$package"_*.deb kernel && rm "$package"_*.deb)
    touch "$work/kernel/$package"
fi
version=${package#linux-image-}

# The first process of the machine: busybox, the modules that the root needs, and this script.
image=$work/image
rm -rf "$image" && mkdir -p "$image"/{bin,modules,proc,sys,dev,mnt}
cp /bin/busybox "$image/bin/"
python3 - "$work/kernel/lib/modules/$version/kernel" "$image/modules" <<'PYTHON'
import pathlib, re, shutil, sys

found = {path.stem.replace("-", "_"): path for path in pathlib.Path(sys.argv[1]).rglob("*.ko")}
order = []

def need(name):
    if name not in order and name in found:
        depends = re.search(rb"\0depends=([^\0]*)\0", found[name].read_bytes())
        for other in depends.group(1).decode().split(",") if depends else []:
            need(other.replace("-", "_"))
        order.append(name)

for name in ("virtio_pci", "9pnet_virtio", "9p"):
    need(name)
for number, name in enumerate(order):
    shutil.copy(found[name], pathlib.Path(sys.argv[2]) / f"{number:02}-{name}.ko")
PYTHON
cat > "$image/init" <<INIT
#!/bin/busybox sh
b=/bin/busybox
\$b mount -t proc proc /proc
for module in /modules/*; do \$b insmod \$module; done
\$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=loose,ro root /mnt
\$b mount -t proc proc /mnt/proc
\$b mount -t sysfs sysfs /mnt/sys
\$b mount -t devtmpfs devtmpfs /mnt/dev
\$b mkdir /mnt/dev/pts /mnt/dev/shm
\$b mount -t devpts devpts /mnt/dev/pts
\$b mount -t tmpfs tmpfs /mnt/dev/shm
\$b mount -t tmpfs tmpfs /mnt/run
\$b mount -t cgroup2 cgroup2 /mnt/sys/fs/cgroup
echo +memory +cpu > /mnt/sys/fs/cgroup/cgroup.subtree_control
\$b ifconfig lo 127.0.0.1 up
\$b mkdir /mnt/run/tmp
\$b chroot /mnt /usr/bin/env -i PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin LANG=C.UTF-8 TMPDIR=/run/tmp CI=1 \\
    PODTEST_DEADLINE=240 PODTEST_LEAK_SECONDS='${PODTEST_LEAK_SECONDS:-60}' PYTHONDONTWRITEBYTECODE=1 /bin/sh -c '
    cd "$PWD/tests" && exec "$venv/bin/python" -m pytest --quiet -p no:cacheprovider -p no:xdist -o timeout=1800 \\
        blackbox/test_memory.py -k "$choice"'
echo "exit code \$?"
\$b poweroff -f
INIT
chmod +x "$image/init"
(cd "$image" && find . | cpio --create --format=newc --quiet | gzip -1) > "$work/image.gz"

log=$work/console.log
# Without KVM a processor is emulated, some twenty times slower: that is enough here.
qemu-system-x86_64 -m 3072 -smp 2 -nographic -no-reboot -nic none \
    -kernel "$work/kernel/boot/vmlinuz-$version" -initrd "$work/image.gz" -append "console=ttyS0 quiet panic=1" \
    -virtfs "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap" </dev/null | tee "$log"
grep -q "^exit code 0" "$log"
