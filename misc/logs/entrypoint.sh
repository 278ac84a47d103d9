#!/bin/sh
# Files that docker rotated while this was not running, or was about to end, are read again, whole: what was sent before
# is merged with it. Their names are new each time, so that none is taken for one that was read.
set -eu
state=/data/syslog-ng.persist
rm -rf /data/rotated
mkdir -p /data/rotated /data/buffer
if [ -e "$state" ]; then
    now=$(date +%s)
    find /var/lib/docker/containers -name '*-json.log.*' -newermt "@$(($(stat -c %Y "$state") - 600))" \
        -exec sh -c 'cp "$2" "/data/rotated/$1-${2##*/}"' copy "$now" {} \;
fi
exec syslog-ng --foreground --no-caps --cfgfile=/etc/syslog-ng/redirect.conf --persist-file="$state" \
    --control=/tmp/syslog-ng.ctl --pidfile=/tmp/syslog-ng.pid
