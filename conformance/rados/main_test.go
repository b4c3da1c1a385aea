package rados

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spirula/spirula/conformance/launch"
)

// commandTimeout bounds one command of a client, on a machine that has much
// else to do.
const commandTimeout = time.Minute

// fullRun asks for the long forms of the tests here.
var fullRun = os.Getenv("SPIRULA_RADOS_FULL") == "1"

func TestMain(m *testing.M) {
	code := launch.Main(m)
	if subject.server != nil {
		subject.server.Kill()
		os.RemoveAll(filepath.Dir(subject.server.Dir))
	}
	os.Exit(code)
}

// cluster is what the tests judge.
type cluster struct {
	conf    string         // its ceph.conf, which names the keyring
	foreign bool           // somebody else runs it, as a Ceph, whose known faults the tests avoid
	server  *launch.Server // the Spirula that it is; nil if it has several processes
}

// subject is the one cluster that most tests share, each in pools of its own.
var subject struct {
	cluster
	once sync.Once
	err  error
}

// foreign is the cluster that SPIRULA_CEPH_CONF names, if it does.
func foreign() cluster {
	conf := os.Getenv("SPIRULA_CEPH_CONF")
	return cluster{conf: conf, foreign: conf != ""}
}

// start brings up a Spirula for the tests of this package.
func start(dir string) (*launch.Server, string, error) {
	addr, err := launch.FreeAddr()
	if err != nil {
		return nil, "", err
	}
	s, err := launch.New(dir, "--mon", addr)
	if err != nil {
		return nil, "", err
	}
	return s, filepath.Join(s.Dir, "ceph.conf"), s.Up()
}

// judged gives the cluster that SPIRULA_CEPH_CONF names, or a Spirula.
func judged(t *testing.T) cluster {
	t.Helper()
	clientsOnly(t)
	subject.once.Do(func() {
		if subject.cluster = foreign(); subject.foreign {
			return
		}
		var dir string
		if dir, subject.err = os.MkdirTemp("", "spirula-rados-"); subject.err == nil {
			subject.server, subject.conf, subject.err = start(dir)
		}
	})
	if subject.err != nil {
		t.Fatal(subject.err)
	}
	if s := subject.server; s != nil {
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("the end of the server's log:\n%s", s.Tail())
			}
		})
	}
	return subject.cluster
}

// clientsOnly skips a test that needs programs of Debian's, unless asked for.
func clientsOnly(t *testing.T) {
	t.Helper()
	if os.Getenv("SPIRULA_CLIENTS") != "1" {
		t.Skip("set SPIRULA_CLIENTS=1 to run this")
	}
}

// needs wants Debian's programs, whatever comes first in PATH.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	clientsOnly(t)
	deb := map[string]string{"rados": "ceph-common", "ceph": "ceph-common", "python3": "python3-rados", "fio": "fio"}
	for _, p := range programs {
		if _, err := os.Stat("/usr/bin/" + p); err != nil {
			t.Fatalf("/usr/bin/%s is missing: apt-get install %s", p, deb[p])
		}
	}
}

// shell runs clients against a cluster, in a directory of its own and away
// from the user's settings.
type shell struct {
	*testing.T
	cluster
	dir string
	env []string
}

func newShell(t *testing.T, c cluster) *shell {
	t.Helper()
	s := &shell{T: t, cluster: c, dir: t.TempDir()}
	for _, e := range os.Environ() {
		// An environment for another Python confuses Debian's programs.
		k, _, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(k, "CEPH_") && !strings.HasPrefix(k, "PYTHON") && !strings.HasPrefix(k, "SPIRULA_") && k != "HOME" && k != "PATH" {
			s.env = append(s.env, e)
		}
	}
	s.env = append(s.env, "HOME="+s.dir, "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "CEPH_CONF="+c.conf)
	return s
}

// command prepares one, which ends with ctx.
func (s *shell) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	if !strings.Contains(name, "/") {
		name = "/usr/bin/" + name
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env, cmd.Dir, cmd.WaitDelay = s.env, s.dir, 5*time.Second
	return cmd
}

// result is what a command gave.
type result struct {
	out, errs string
	status    int // of its exit; -1 after the time limit
	took      time.Duration
}

func (s *shell) try(name string, args ...string) result { return s.feed("", name, args...) }

// feed is try with something to read on the standard input.
func (s *shell) feed(in, name string, args ...string) result {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), commandTimeout)
	defer cancel()
	cmd := s.command(ctx, name, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(in), &out, &errs
	begin := time.Now()
	err := cmd.Run()
	r := result{out: out.String(), errs: errs.String(), took: time.Since(begin)}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		r.status = exit.ExitCode()
	case err != nil:
		s.Fatalf("%s: %v", name, err)
	}
	if strings.Contains(r.errs, "GENERIC OPTIONS") {
		r.errs = "(usage)"
	}
	if ctx.Err() != nil {
		r.errs += fmt.Sprintf("\n(killed after %v)", commandTimeout)
	}
	return r
}

// run is a command that must succeed; it gives what was printed.
func (s *shell) run(name string, args ...string) string {
	s.Helper()
	r := s.try(name, args...)
	if r.status != 0 {
		s.Fatalf("%s %s: status %d\n%s%s", name, strings.Join(args, " "), r.status, r.out, r.errs)
	}
	return r.out
}

// fails is a command that must end with the given status and say the given
// words.
func (s *shell) fails(status int, says, name string, args ...string) {
	s.Helper()
	r := s.try(name, args...)
	if r.status != status || !strings.Contains(r.out+r.errs, says) {
		s.Errorf("%s %s: status %d, want %d with %q\n%s%s", name, strings.Join(args, " "), r.status, status, says, r.out, r.errs)
	}
}

// says is a command that must succeed and print every one of the words.
func (s *shell) says(words []string, name string, args ...string) string {
	s.Helper()
	out := s.run(name, args...)
	for _, w := range words {
		if !strings.Contains(out, w) {
			s.Errorf("%s %s: %q is not in\n%s", name, strings.Join(args, " "), w, out)
		}
	}
	return out
}

// prints is a command that must succeed and print exactly want, but for space
// around it.
func (s *shell) prints(want, name string, args ...string) {
	s.Helper()
	if out := s.run(name, args...); strings.TrimSpace(out) != want {
		s.Errorf("%s %s: %q, want %q", name, strings.Join(args, " "), strings.TrimSpace(out), want)
	}
}

// decode parses JSON that a command printed.
func (s *shell) decode(out string, v any) {
	s.Helper()
	if err := json.Unmarshal([]byte(out), v); err != nil {
		s.Fatalf("%v in\n%s", err, out)
	}
}

// outlive is for a command at the end of a test, whose context has ended.
func (s *shell) outlive() context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.Context()), commandTimeout)
	time.AfterFunc(commandTimeout, cancel)
	return ctx
}

var poolNumber atomic.Int64

// pool makes a pool, which goes when the test ends.
func (s *shell) pool() string {
	s.Helper()
	name := fmt.Sprintf("conf%d-%d", os.Getpid(), poolNumber.Add(1))
	s.run("ceph", "osd", "pool", "create", name, "8")
	s.run("ceph", "osd", "pool", "application", "enable", name, "conformance")
	s.Cleanup(func() {
		if out, err := s.command(s.outlive(), "ceph", "osd", "pool", "rm", name, name, "--yes-i-really-really-mean-it").CombinedOutput(); err != nil {
			s.Errorf("pool rm: %v\n%s", err, out)
		}
	})
	return name
}

// file makes a file of n bytes that no compression makes smaller.
func (s *shell) file(name string, n int) []byte {
	s.Helper()
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n), byte(len(name))}).Read(b)
	s.write(name, b)
	return b
}

func (s *shell) write(name string, b []byte) {
	s.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), b, 0o600); err != nil {
		s.Fatal(err)
	}
}

func (s *shell) read(name string) []byte {
	s.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.Fatal(err)
	}
	return b
}

// same wants a file to hold want.
func (s *shell) same(name string, want []byte) {
	s.Helper()
	if got := s.read(name); !bytes.Equal(got, want) {
		s.Errorf("%s: %d bytes, which are not the %d wanted", name, len(got), len(want))
	}
}

// eventually asks again until ok, for as long as bound.
func (s *shell) eventually(bound time.Duration, what string, ok func() bool) {
	s.Helper()
	for end := time.Now().Add(bound); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			s.Fatalf("not within %v: %s", bound, what)
		}
	}
}
