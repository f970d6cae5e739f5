#!/bin/busybox sh
# The same container in an ordinary VM: same kernel, modules, crun and disks as the measured guest, and none of
# what makes that one trustworthy: no firmware that checks, no attestation, no dm-verity, no firewall.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs devtmpfs /dev
for module in $($b cat /lib/modules/order); do
  $b insmod "$module"
done
while [ ! -b /dev/vdb ]; do $b usleep 10000; done

$b mount -t erofs -o ro /dev/vda /root
$b mount -t erofs -o ro /dev/vdb /root/mnt
$b mount -t tmpfs tmpfs /root/run
$b mkdir -p /root/run/app
$b cp /config.json /root/run/app/config.json
for file_system in proc sys dev; do
  $b mount --move "/$file_system" "/root/$file_system"
done
$b mount -t cgroup2 cgroup2 /root/sys/fs/cgroup
$b ip link set lo up
$b ip link set eth0 up
$b ip addr add 10.0.2.15/24 dev eth0
exec $b switch_root -c /dev/console /root /usr/bin/crun --root /run/crun run --bundle /run/app app
