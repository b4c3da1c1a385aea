package main

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// The verbs crushtool and osdmaptool take the options of Ceph's tools of these
// names, which are no common kind: an option is found wherever it stands, - and
// _ in it are the same, some take several arguments.

// exitStatus ends the program with a status and no further message.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// toolCommand makes a verb that parses its own options.
func toolCommand(name, short string, run func(t *tool) int) *cobra.Command {
	return &cobra.Command{
		Use: name + " [OPTION]...", Short: short, DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			t := &tool{name: name, args: args, out: bufio.NewWriter(cmd.OutOrStdout()), err: cmd.ErrOrStderr()}
			status := t.run(run)
			if err := t.out.Flush(); err != nil && status == 0 {
				return fmt.Errorf("%s: writing output: %w", name, err)
			}
			if status != 0 {
				return exitStatus(status)
			}
			return nil
		},
	}
}

// tool is one run of such a verb.
type tool struct {
	name string
	args []string // those not understood yet
	at   int
	out  *bufio.Writer
	err  io.Writer
}

// run turns what fail and exit raised into a status.
func (t *tool) run(f func(t *tool) int) (status int) {
	defer func() {
		if r := recover(); r != nil {
			s, ok := r.(exitStatus)
			if !ok {
				panic(r)
			}
			status = int(s)
		}
	}()
	return f(t)
}

func (t *tool) printf(format string, args ...any) { fmt.Fprintf(t.out, format, args...) }

// warnf writes to stderr, behind what was written to stdout so far.
func (t *tool) warnf(format string, args ...any) {
	t.out.Flush()
	fmt.Fprintf(t.err, format, args...)
}

// exit ends the run with a status.
func (t *tool) exit(status int) { panic(exitStatus(status)) }

// fail ends the run with status 1 and a message on stderr.
func (t *tool) fail(format string, args ...any) {
	t.warnf(format+"\n", args...)
	t.exit(1)
}

// failErrno ends the run as a failed library call does in the originals.
func (t *tool) failErrno(e syscall.Errno) {
	t.warnf("%s %s\n", t.name, errnoText(e))
	t.exit(256 - int(e))
}

func errnoText(e syscall.Errno) string {
	s := e.Error()
	return fmt.Sprintf("(%d) %s", int(e), strings.ToUpper(s[:1])+s[1:])
}

// pop takes the argument at hand; ok is false behind the last.
func (t *tool) pop() (arg string, ok bool) {
	if t.at >= len(t.args) {
		return "", false
	}
	arg = t.args[t.at]
	t.args = append(t.args[:t.at:t.at], t.args[t.at+1:]...)
	return arg, true
}

func sameOption(arg, name string) bool {
	return strings.ReplaceAll(arg, "_", "-") == name
}

// flag takes an option without argument.
func (t *tool) flag(names ...string) bool {
	for _, n := range names {
		if sameOption(t.args[t.at], n) {
			t.pop()
			return true
		}
	}
	return false
}

// value takes an option and its argument, behind it or behind =.
func (t *tool) value(names ...string) (string, bool) {
	arg := t.args[t.at]
	for _, n := range names {
		if name, v, ok := strings.Cut(arg, "="); ok && strings.HasPrefix(n, "--") && sameOption(name, n) {
			t.pop()
			return v, true
		}
		if sameOption(arg, n) {
			t.pop()
			v, ok := t.pop()
			if !ok {
				t.fail("Option %s requires an argument.\n", arg)
			}
			return v, true
		}
	}
	return "", false
}

// text stores an option's argument.
func (t *tool) text(to *string, names ...string) bool {
	v, ok := t.value(names...)
	if ok {
		*to = v
	}
	return ok
}

// number stores an option's argument, an integer of 32 bits.
func (t *tool) number(to *int, names ...string) bool {
	v, ok := t.value(names...)
	if ok {
		*to = t.integer(v)
	}
	return ok
}

func (t *tool) integer(s string) int {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		t.fail("The option value '%s' is invalid", s)
	}
	return int(n)
}

// more takes one further argument of an option.
func (t *tool) more(option string) string {
	v, ok := t.pop()
	if !ok {
		t.fail("expecting additional argument to %s", option)
	}
	return v
}

// weight reads a weight as 16.16, through float32 as the originals do.
func (t *tool) weight(s string) uint32 {
	f, err := strconv.ParseFloat(s, 32)
	if err != nil || f < 0 || math.IsNaN(f) || f >= 65536 {
		t.fail("The option value '%s' is invalid", s)
	}
	return uint32(float32(f) * 0x10000)
}

// readFile reads a whole file; "-" is stdin.
func readFile(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(name)
}

// openError is an error of open in the originals' words.
func openError(name string, err error) string {
	if pe, ok := err.(*fs.PathError); ok {
		if e, ok := pe.Err.(syscall.Errno); ok {
			return fmt.Sprintf("can't open %s: %s", name, errnoText(e))
		}
	}
	return err.Error()
}

// shortNumber prints a number as C++ streams do, with six digits.
func shortNumber(s string) string {
	f, _ := strconv.ParseFloat(s, 32)
	return strconv.FormatFloat(float64(float32(f)), 'g', 6, 64)
}
