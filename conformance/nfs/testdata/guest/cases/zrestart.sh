# The server is killed while the mount stays, with a writer at work.
mkdir -p r
dd if=/dev/urandom of=/tmp/data bs=64k count=64 2>/dev/null
dd if=/tmp/data of=r/synced bs=64k conv=fsync 2>/dev/null
( for i in {1..60}; do echo line $i >> r/log; sleep 0.05; done; sync -f r ) &
sleep 0.5
exec 9< r/synced
host restart
cmp /tmp/data r/synced || fail "fsynced data"
drop
cmp /tmp/data r/synced || fail "fsynced data, read from the server"
cmp /tmp/data <(cat <&9) || fail "through the descriptor from before"
wait
drop
[ "$(wc -l < r/log)" = 60 ] || fail "lines: $(wc -l < r/log)"
seq -f 'line %g' 60 | cmp - r/log || fail "the log"
host restart
echo new > r/new
[ "$(cat r/new)" = new ]
