# A build with cache, sources and results in the mount; the cache comes with
# the runtime's packages, everything else is compiled here.
mkdir -p build/lib build/tmp; cd build
cp -r /io/gocache cache
cat > go.mod <<'END'
module example.com/hello
go 1.24
END
printf 'package lib\n\nfunc Where() string { return "in the mount" }\n' > lib/lib.go
printf 'package main\n\nimport "example.com/hello/lib"\n\nfunc main() { println("built", lib.Where()) }\n' > main.go
export GOCACHE=$PWD/cache GOTOOLCHAIN=local GOFLAGS=-mod=mod GOPROXY=off GOWORK=off CGO_ENABLED=0 GOTMPDIR=$PWD/tmp
PATH=$(cat /io/goroot)/bin:$PATH
t=$(now); go build -trimpath -o hello .; echo "first: $(($(now) - t)) ms"
./hello 2>&1 | grep -q "built in the mount" || fail "the program does not run"
drop
t=$(now); go build -trimpath -o hello2 .; echo "with the cache: $(($(now) - t)) ms"
cmp hello hello2
printf 'package lib\n\nfunc Where() string { return "again" }\n' > lib/lib.go
go build -trimpath -o hello .
./hello 2>&1 | grep -q "built again" || fail "a change was not seen"
