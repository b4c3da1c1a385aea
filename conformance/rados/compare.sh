#!/bin/bash
# Compare the speed of one Spirula OSD with that of one osd of a real Ceph:
# rados bench with 16 in flight, size 1, no cephx, 20 s each.
#
#   compare.sh CEPH_CONF OSD_PID   judge that cluster, whose osd has that pid
#   compare.sh                     build Spirula, run it, and judge it
#
# SECONDS_EACH=20 for other times; POOL_PGS=16.  The machine should do nothing
# else.  What the real one needs: one osd, auth none, pool size 1.
set -euo pipefail
each=${SECONDS_EACH:-20} pgs=${POOL_PGS:-16}
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
pid=
end() { if [ -z "${given:-}" ] && [ -n "$pid" ]; then kill "$pid" && wait "$pid" || true; fi; rm -rf "$work"; }
trap end EXIT

if [ $# = 2 ]; then
  given=1 CEPH_CONF=$1 pid=$2
else
  go build -o "$work/spirula" ./cmd/spirula
  "$work/spirula" up "$work/data" --mon 127.0.0.1:13300 --auth none --s3 127.0.0.1:17480 --nfs 127.0.0.1:12049 --status 127.0.0.1:19090 \
    --access-key compare --secret-key compare-secret > "$work/log" 2>&1 &
  pid=$!
  CEPH_CONF=$work/data/ceph.conf
  for _ in $(seq 200); do [ -e "$CEPH_CONF" ] && timeout 5 rados -c "$CEPH_CONF" lspools > /dev/null 2>&1 && break; sleep 0.1; done
fi
export CEPH_CONF
rss() { awk '/^VmRSS/{printf "%d MB", $2/1024}' "/proc/$pid/status"; }
pool=compare-$$
ceph osd pool create "$pool" "$pgs" > /dev/null 2>&1
ceph osd pool set "$pool" size 1 --yes-i-really-mean-it > /dev/null 2>&1
bench() { # kind, size
  local args=(-t 16 --run-name "run$2")
  [ "$1" = write ] && args+=(-b "$2" --no-cleanup)
  rados -p "$pool" bench "$each" "$1" "${args[@]}" | awk -v what="$2 $1" '
    /^Bandwidth/{mb=$3} /^Average IOPS/{n=$3} /^Average Latency/{l=$3*1000}
    END{printf "%-16s %9.1f MB/s %8d a second %8.2f ms", what, mb, n, l}'
  echo "   $(rss)"
}
for size in 4194304 4096; do
  bench write "$size"
  bench rand "$size"
  rados -p "$pool" cleanup --run-name "run$size" > /dev/null
done
ceph osd pool rm "$pool" "$pool" --yes-i-really-really-mean-it > /dev/null 2>&1
