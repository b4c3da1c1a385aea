// Package launch builds the program and runs it as a child process, with a
// data directory and addresses of its own, for the suites that judge it from
// outside. A suite's TestMain calls Main, which removes what was built.
//
// Nothing here is safe for use by several goroutines, but for the fields of a
// Server, which stay the same over restarts.
package launch

import (
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// The keys of the first user of every Server.
const (
	AccessKey = "conformance"
	SecretKey = "conformance-secret"
)

// readyTimeout bounds a start, on a machine that has much else to do.
const readyTimeout = 60 * time.Second

// stopTimeout bounds a clean stop.
const stopTimeout = 60 * time.Second

var (
	buildOnce sync.Once
	buildDir  string
	buildErr  error
)

// Binary builds cmd/spirula, once for each process, and gives its path.
func Binary() (string, error) {
	buildOnce.Do(func() {
		if buildDir, buildErr = os.MkdirTemp("", "spirula-test-"); buildErr != nil {
			return
		}
		// Others than the builder may have to run it.
		os.Chmod(buildDir, 0o755)
		if buildErr = lookAtSources(); buildErr != nil {
			return
		}
		cmd := exec.Command("go", "build", "-o", filepath.Join(buildDir, "spirula"), "github.com/spirula/spirula/cmd/spirula")
		if out, err := cmd.CombinedOutput(); err != nil {
			buildErr = fmt.Errorf("build spirula: %w\n%s", err, out)
		}
	})
	return filepath.Join(buildDir, "spirula"), buildErr
}

// lookAtSources asks for the state of every source file, so that go test does
// not answer from its cache when the program has changed: what a test asked
// for is part of the key.
func lookAtSources() error {
	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.WalkDir(filepath.Dir(strings.TrimSpace(string(mod))), func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			os.Stat(path)
		}
		return err
	})
}

// Main runs the tests of a package and removes what Binary made.
func Main(m *testing.M) int {
	code := m.Run()
	if buildDir != "" {
		os.RemoveAll(buildDir)
	}
	return code
}

// Server is a spirula in a process of its own.
type Server struct {
	Process
	Dir             string // the data directory
	S3, NFS, Status string // addresses, host:port
}

// New prepares a server whose files are below dir. args are more flags for
// `up`.
func New(dir string, args ...string) (*Server, error) {
	bin, err := Binary()
	if err != nil {
		return nil, err
	}
	s := &Server{Process: Process{Log: filepath.Join(dir, "log"), bin: bin}, Dir: filepath.Join(dir, "data")}
	for _, addr := range []*string{&s.S3, &s.NFS, &s.Status} {
		if *addr, err = FreeAddr(); err != nil {
			return nil, err
		}
	}
	s.args = append([]string{"up", s.Dir, "--s3", s.S3, "--nfs", s.NFS, "--mon", "127.0.0.1:0", "--status", s.Status,
		"--access-key", AccessKey, "--secret-key", SecretKey}, args...)
	return s, nil
}

// Start is New and Up for a test; the server ends with the test, and a test
// that failed shows the end of its log.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s, err := New(t.TempDir(), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Logf("the end of the server's log:\n%s", s.Tail())
		}
	})
	if err := s.Up(); err != nil {
		t.Fatal(err)
	}
	return s
}

// FreeAddr gives an address on loopback that nobody listens on now.
func FreeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// Up starts the process and waits until it is ready.
func (s *Server) Up() error {
	if err := s.start(); err != nil {
		return err
	}
	client := &http.Client{Timeout: 2 * time.Second}
	return s.ready(func() bool {
		resp, err := client.Get("http://" + s.Status + "/healthz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}
