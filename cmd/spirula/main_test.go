package main

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asProgram in the environment makes this test's binary be spirula.
const asProgram = "SPIRULA_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Unsetenv(asProgram)
		os.Exit(run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// command prepares spirula with args, with no settings in its environment but
// env.
func command(ctx context.Context, env []string, args ...string) *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.CommandContext(ctx, exe, args...)
	cmd.Env = []string{asProgram + "=1"}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "SPIRULA_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// finish runs a prepared command to its end.
func finish(t *testing.T, cmd *exec.Cmd) (stdout, stderr string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

// spirula runs a command to its end.
func spirula(t *testing.T, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return finish(t, command(ctx, env, args...))
}

// anyPorts are flags for an `up` that is in nobody's way.
func anyPorts(dir string, more ...string) []string {
	return append([]string{"up", dir, "--s3", "127.0.0.1:0", "--nfs", "127.0.0.1:0", "--status", "127.0.0.1:0", "--mon", "127.0.0.1:0"}, more...)
}

// daemon is a running `spirula up`.
type daemon struct {
	t      *testing.T
	cmd    *exec.Cmd
	log    string // file with all it printed
	banner map[string]string
}

// up starts a daemon and waits for its banner.
func upDaemon(t *testing.T, env []string, args ...string) *daemon {
	t.Helper()
	d := &daemon{t: t, cmd: command(context.Background(), env, args...), log: filepath.Join(t.TempDir(), "log"), banner: map[string]string{}}
	f, err := os.Create(d.log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d.cmd.Stdout, d.cmd.Stderr = f, f
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if d.cmd.ProcessState == nil {
			d.cmd.Process.Kill()
			d.cmd.Wait()
		}
	})
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		out := d.output()
		if !strings.Contains(out, "log-level:") {
			continue
		}
		for line := range strings.Lines(out) {
			if k, v, ok := strings.Cut(strings.TrimSpace(line), "  "); ok {
				d.banner[k] = strings.TrimSpace(v)
			}
		}
		return d
	}
	t.Fatalf("no banner after 30 seconds:\n%s", d.output())
	return nil
}

func (d *daemon) output() string {
	b, err := os.ReadFile(d.log)
	if err != nil {
		d.t.Fatal(err)
	}
	return string(b)
}

// stop sends a signal and gives the exit status.
func (d *daemon) stop(sig syscall.Signal) int {
	d.t.Helper()
	d.cmd.Process.Signal(sig)
	kill := time.AfterFunc(30*time.Second, func() { d.cmd.Process.Kill() })
	defer kill.Stop()
	d.cmd.Wait()
	return d.cmd.ProcessState.ExitCode()
}

// get asks the status address.
func (d *daemon) get(path string) (int, error) {
	addr := strings.TrimPrefix(d.banner["status"], "http://")
	resp, err := http.Get("http://" + addr + path)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return resp.StatusCode, nil
}

// wantFailure checks a failed command: its status, one line on stderr, what
// that says, and nothing on stdout.
func wantFailure(t *testing.T, what, stdout, stderr string, code, want int, says ...string) {
	t.Helper()
	if code != want {
		t.Errorf("%s: status %d, want %d", what, code, want)
	}
	if stdout != "" {
		t.Errorf("%s: stdout has %q", what, stdout)
	}
	var lines []string
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, "time=") { // the log is apart
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 || !strings.HasPrefix(lines[0], "spirula: ") {
		t.Errorf("%s: stderr has %q, want one line", what, stderr)
		return
	}
	for _, s := range says {
		if !strings.Contains(lines[0], s) {
			t.Errorf("%s: %q does not say %q", what, lines[0], s)
		}
	}
}
