mkdir -p from/d to
host fill bucket/from/d/ 5000
[ "$(ls -f from/d | wc -l)" = 5002 ] || fail "entries: $(ls -f from/d | wc -l)"
t=$(now); mv from/d to/e; t=$(($(now) - t))
echo "mv of 5000 entries: $t ms"
[ $t -lt 1000 ] || fail "slow"
[ "$(ls -f to/e | wc -l)" = 5002 ] || fail "entries after: $(ls -f to/e | wc -l)"
host has bucket to/e/00042 "object 42"
rm -rf to
[ ! -e to ] || fail "rm -rf left something"
