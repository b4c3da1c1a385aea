package nfs

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/spirula/spirula/conformance/launch"
	"github.com/spirula/spirula/conformance/nfs/vm"
)

var casePattern = flag.String("cases", "", "run only the guest's cases whose file names match")

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestKernelClient boots a guest once and runs every case in it.
func TestKernelClient(t *testing.T) {
	need(t, vm.Missing())
	s := launch.Start(t)
	c := s3Client(s)
	makeBucket(t, c, "bucket")
	// Its directory is the first user's, who is whoever runs this.
	g := vm.Guest{Dir: t.TempDir(), Memory: 2048, Timeout: 8 * time.Minute, Host: host(s, c)}
	stage(t, g.Dir, s)
	script, err := os.ReadFile("testdata/guest/main.sh")
	if err != nil {
		t.Fatal(err)
	}
	g.Script = string(script)
	out, status, err := g.Run(context.Background())
	if err != nil {
		t.Fatalf("%v\noutput:\n%s", err, out)
	}
	t.Logf("the guest:\n%s", out)
	if status != 0 {
		t.Errorf("the guest's script ended with %d", status)
	}
	cases, err := filepath.Glob("testdata/guest/cases/*.sh")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, f := range cases {
		if ok, _ := regexp.MatchString(*casePattern, filepath.Base(f)); !ok {
			continue
		}
		name := strings.TrimSuffix(filepath.Base(f), ".sh")
		t.Run(name, func(t *testing.T) {
			log, _ := os.ReadFile(filepath.Join(g.Dir, "out", name+".log"))
			rc, err := os.ReadFile(filepath.Join(g.Dir, "out", name+".rc"))
			if err != nil {
				t.Fatalf("it did not run: %v\n%s", err, log)
			}
			if strings.TrimSpace(string(rc)) != "0" {
				t.Fatalf("status %s\n%s", rc, log)
			}
			t.Logf("%s", log)
		})
	}
}

// stage puts what the cases need into the shared folder.
func stage(t *testing.T, dir string, s *launch.Server) {
	t.Helper()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_, port, err := net.SplitHostPort(s.NFS)
	if err != nil {
		t.Fatal(err)
	}
	write("port", port)
	write("goroot", run(t, ".", "go", "env", "GOROOT"))
	write("uid", strconv.Itoa(os.Getuid()))
	write("pattern", *casePattern)
	if err := os.CopyFS(filepath.Join(dir, "cases"), os.DirFS("testdata/guest/cases")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "test", "-c", "-o", filepath.Join(dir, "posix.test"), "./posix")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compile the POSIX tests: %v\n%s", err, out)
	}
	stageCache(t, dir)
	stageRepo(t, dir)
	stageTree(t, filepath.Join(dir, "tree"))
	run(t, dir, "tar", "-cf", "tree.tar", "tree")
}

// stageCache builds a program, so that the guest, whose processor is slow,
// starts with a cache that has the runtime in it.
func stageCache(t *testing.T, dir string) {
	t.Helper()
	src := t.TempDir()
	for name, content := range map[string]string{"go.mod": "module example.com/stage\ngo 1.24\n", "main.go": "package main\n\nfunc main() {}\n"} {
		if err := os.WriteFile(filepath.Join(src, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(src, "out"), ".")
	cmd.Dir = src
	cmd.Env = append(os.Environ(), "GOCACHE="+filepath.Join(dir, "gocache"), "CGO_ENABLED=0", "GOTOOLCHAIN=local", "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
}

// stageRepo makes a bare repository with three commits.
func stageRepo(t *testing.T, dir string) {
	t.Helper()
	work := t.TempDir()
	run(t, work, "git", "init", "-q", "-b", "main")
	for i := range 3 {
		for j := range 40 {
			name := filepath.Join(work, fmt.Sprintf("file%d", j))
			if err := os.WriteFile(name, fmt.Appendf(nil, "commit %d file %d\n%s", i, j, strings.Repeat("line\n", 200)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		run(t, work, "git", "add", ".")
		run(t, work, "git", "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-qm", fmt.Sprint("commit ", i))
	}
	run(t, dir, "git", "clone", "-q", "--bare", work, "repo.git")
}

// stageTree makes a tree of files of many sizes, links, modes and times.
func stageTree(t *testing.T, root string) {
	t.Helper()
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for d := range 6 {
		dir := filepath.Join(root, fmt.Sprintf("dir%d", d), "sub dir")
		check(os.MkdirAll(dir, 0o755))
		for i, size := range []int{0, 1, 100, 2047, 2048, 2049, 4096, 65536, 1 << 20, 1<<20 + 1} {
			b := make([]byte, size)
			for j := range b {
				b[j] = byte(rnd.Uint32())
			}
			name := filepath.Join(dir, fmt.Sprintf("file-%d", size))
			check(os.WriteFile(name, b, 0o644))
			check(os.Chmod(name, []os.FileMode{0o644, 0o600, 0o755, 0o444}[i%4]))
			at := time.Unix(int64(1_500_000_000+rnd.IntN(1e8)), int64(rnd.IntN(1e9)))
			check(os.Chtimes(name, at, at))
		}
		check(os.Symlink("file-100", filepath.Join(dir, "link")))
		check(os.Link(filepath.Join(dir, "file-2049"), filepath.Join(dir, "hard")))
	}
}

// fillers is how many objects are put at a time.
const fillers = 8

// host does for the guest's scripts what needs the other door.
func host(s *launch.Server, c *s3.Client) func([]string) error {
	return func(args []string) error {
		switch {
		case args[0] == "restart":
			s.Kill()
			return s.Up()
		case args[0] == "put" && len(args) == 4:
			return putObject(c, args[1], args[2], []byte(args[3]))
		case args[0] == "has" && len(args) == 4:
			return hasObject(c, args[1], args[2], args[3])
		case args[0] == "hasnot" && len(args) == 3:
			got, err := getObject(c, args[1], args[2])
			var none *types.NoSuchKey
			if errors.As(err, &none) {
				return nil
			}
			return fmt.Errorf("%s/%s: %d bytes, %v, want no object", args[1], args[2], len(got), err)
		case args[0] == "fill" && len(args) == 3:
			return fill(c, args[1], args[2])
		}
		return fmt.Errorf("unknown request %q", args)
	}
}

// fill puts count objects with keys of five digits.
func fill(c *s3.Client, where, count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	bucket, prefix, _ := strings.Cut(where, "/")
	var wg sync.WaitGroup
	errs := make([]error, fillers)
	for w := range fillers {
		wg.Go(func() {
			for i := w; i < n && errs[w] == nil; i += fillers {
				errs[w] = putObject(c, bucket, fmt.Sprintf("%s%05d", prefix, i), fmt.Appendf(nil, "object %d", i))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
