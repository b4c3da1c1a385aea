package launch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Process is one run after another of the same command of the program.
type Process struct {
	Log string // file with everything it printed

	bin  string
	args []string
	cmd  *exec.Cmd
	done chan error
}

// NewProcess prepares `spirula args...`, a daemon that says when it is ready.
func NewProcess(log string, args ...string) (*Process, error) {
	bin, err := Binary()
	return &Process{Log: log, bin: bin, args: args}, err
}

// Up starts the process and waits until it says that it is ready.
func (p *Process) Up() error {
	var before int64
	if info, err := os.Stat(p.Log); err == nil {
		before = info.Size()
	}
	if err := p.start(); err != nil {
		return err
	}
	return p.ready(func() bool {
		b, err := os.ReadFile(p.Log)
		return err == nil && int64(len(b)) > before && bytes.Contains(b[before:], []byte(" is ready"))
	})
}

func (p *Process) start() error {
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.bin, p.args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = cleanEnv()
	if err := cmd.Start(); err != nil {
		return err
	}
	p.cmd, p.done = cmd, make(chan error, 1)
	go func() { p.done <- cmd.Wait() }()
	return nil
}

// ready waits until answers holds, or the process ends.
func (p *Process) ready(answers func() bool) error {
	for end := time.Now().Add(readyTimeout); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		select {
		case err := <-p.done:
			p.cmd = nil
			return fmt.Errorf("the process ended: %v\n%s", err, p.Tail())
		default:
		}
		if answers() {
			return nil
		}
	}
	return fmt.Errorf("the process was not ready after %v\n%s", readyTimeout, p.Tail())
}

// cleanEnv is this process's environment without settings of spirula.
func cleanEnv() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "SPIRULA_") {
			env = append(env, e)
		}
	}
	return env
}

// Pid is the process while it runs, else 0.
func (p *Process) Pid() int {
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Kill ends the process as a loss of power would, as far as a process goes.
func (p *Process) Kill() {
	if p.cmd == nil {
		return
	}
	p.cmd.Process.Kill()
	<-p.done
	p.cmd = nil
}

// Stop asks the process to end, as Ctrl-C does, and gives how it ended.
func (p *Process) Stop() error {
	if p.cmd == nil {
		return errors.New("the process does not run")
	}
	p.cmd.Process.Signal(syscall.SIGINT)
	select {
	case err := <-p.done:
		p.cmd = nil
		return err
	case <-time.After(stopTimeout):
		p.Kill()
		return fmt.Errorf("the process had not stopped after %v", stopTimeout)
	}
}

// Run runs another command of the program, as `spirula args...`, with nothing
// of spirula's settings in its environment but env.
func (p *Process) Run(env []string, args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.bin, args...)
	cmd.Env = append(cleanEnv(), env...)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err = cmd.Run()
	return o.String(), e.String(), err
}

// Tail is the end of the process's log.
func (p *Process) Tail() string {
	b, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-8000):])
}
