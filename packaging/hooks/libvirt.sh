#!/bin/sh
# /etc/libvirt/hooks/qemu.d/openimds: libvirt (6.5 or newer) calls it with the guest as $1, the operation
# as $2 and the domain's XML on stdin. /etc/openimds/hooks.env says whether it does anything.
[ "$2" = started ] || exit 0
"${GUEST_STARTED:-/usr/lib/openimds/guest-started}" libvirt "$1"
exit 0
