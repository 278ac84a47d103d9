#!/bin/sh
# Unhealthy while ClickHouse takes nothing: since the last look no line was delivered, and some wait or were tried again.
set -eu
syslog-ng-ctl --control=/tmp/syslog-ng.ctl stats prometheus >/tmp/stats
number() { sed -n "s/^syslogng_output_$1.* //p" /tmp/stats; }
delivered=$(number 'events_total.*clickhouse#0.*delivered')
waiting=$(number 'events_total.*clickhouse#0.*queued')
retries=$(number 'event_retries_total.*clickhouse#0')
before=$(cat /tmp/before 2>/dev/null || echo none)
echo "$delivered $retries" >/tmp/before
[ "$before" = none ] || [ "${before% *}" != "$delivered" ] || [ "$waiting ${before#* }" = "0 $retries" ]
