# Mounts the export and runs the cases one after the other; each leaves its
# output and status in /io/out.
set -u
export MNT=/mnt PORT=$(cat /io/port) B=/mnt/bucket
export OPTS="vers=3,tcp,nolock,port=$PORT,mountport=$PORT,mountproto=tcp,retry=0"
mkdir -p $MNT /io/out
mount.nfs 127.0.0.1:/ $MNT -o "$OPTS" || exit 99

# drop empties the kernel's caches, so that what is read next is the server's.
drop() { sync -f $MNT; echo 3 > /proc/sys/vm/drop_caches; }
# now is the time since boot in milliseconds.
now() { read -r s _ < /proc/uptime; echo $((10#${s/./} * 10)); }
fail() { echo "FAIL: $*"; exit 1; }
export -f drop now fail

for f in /io/cases/*.sh; do
  name=${f##*/}; name=${name%.sh}
  [[ $name =~ $(cat /io/pattern) ]] || continue
  t0=$(now)
  ( cd $B && exec bash -eu $f ) > /io/out/$name.log 2>&1
  echo $? > /io/out/$name.rc
  echo "$name $(($(now) - t0)) ms"
done
umount $MNT || { umount -l $MNT; exit 98; }
