mkdir many
host fill bucket/many/ 2000
t=$(now); rm -rf many; echo "rm -rf of 2000: $(($(now) - t)) ms"
[ ! -e many ] || fail "left: $(ls many | head)"
host hasnot bucket many/00001
