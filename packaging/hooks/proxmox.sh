#!/bin/sh
# A hookscript of Proxmox: copy it to a storage with the content type Snippets. $1 is the number of the
# guest, $2 the phase. /etc/openimds/hooks.env says whether it does anything.
[ "$2" = post-start ] || exit 0
"${GUEST_STARTED:-/usr/lib/openimds/guest-started}" proxmox "$1"
exit 0
