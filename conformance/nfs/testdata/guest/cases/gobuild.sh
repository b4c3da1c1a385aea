mkdir build; cd build
cat > go.mod <<'END'
module example.com/hello
go 1.24
END
printf 'package main\n\nfunc main() { println("built in the mount") }\n' > main.go
export GOCACHE=$PWD/cache GOTOOLCHAIN=local GOFLAGS=-mod=mod GOPROXY=off GOTMPDIR=$PWD
PATH=$(cat /io/goroot)/bin:$PATH
go build -o hello .
./hello 2>&1 | grep -q "built in the mount" || fail "the program does not run"
t=$(now); go build -o hello2 .; echo "with the cache: $(($(now) - t)) ms"
cmp hello hello2
