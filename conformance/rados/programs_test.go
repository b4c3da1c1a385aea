package rados

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// program is one of Ceph's own, and what it must show.
type program struct {
	name  string
	cases int // that it has, but for those of erasure coded pools
}

// programTimeout bounds one program, with all its cases.
const programTimeout = 10 * time.Minute

var apiPrograms = []program{
	{"ceph_test_rados_api_io", 14}, {"ceph_test_rados_api_io_pp", 21}, {"ceph_test_rados_api_aio", 26}, {"ceph_test_rados_api_aio_pp", 37},
	{"ceph_test_rados_api_c_read_operations", 17}, {"ceph_test_rados_api_c_write_operations", 8}, {"ceph_test_rados_api_stat", 5}, {"ceph_test_rados_api_stat_pp", 5},
	{"ceph_test_rados_api_list", 8}, {"ceph_test_rados_api_pool", 9}, {"ceph_test_rados_api_misc", 12}, {"ceph_test_rados_api_misc_pp", 29},
	{"ceph_test_rados_api_cmd", 4}, {"ceph_test_rados_api_cmd_pp", 3}, {"ceph_test_rados_api_snapshots", 7}, {"ceph_test_rados_api_snapshots_pp", 14},
	{"ceph_test_rados_api_lock", 8}, {"ceph_test_rados_api_lock_pp", 8}, {"ceph_test_rados_api_watch_notify", 10}, {"ceph_test_rados_api_watch_notify_pp", 14},
	{"ceph_test_cls_lock", 11}, {"ceph_test_cls_hello", 6}, {"ceph_test_cls_log", 4}, {"ceph_test_cls_numops", 4}, {"ceph_test_cls_refcount", 5},
	{"ceph_test_cls_cas", 6}, {"ceph_test_cls_cmpomap", 31},
}

// faulty are cases that a real 16.2 does not pass.
var faulty = []struct{ program, name string }{
	{"ceph_test_rados_api_io", "LibRadosIo.ZeroLenZero"},         // a zero of length 0 ends its osds, one after the other
	{"ceph_test_rados_api_io_pp", "LibRadosIoPP.CrcZeroWrite"},   // never ends
	{"ceph_test_rados_api_io_pp", "LibRadosIoPP.SparseReadOpPP"}, // a sparse read with a truncation, which came after it, is EINVAL
	{"ceph_test_rados_api_aio_pp", "LibRadosAio.PoolEIOFlag"},    // the pool flag eio came after it
}

// TestCephsPrograms runs Ceph's own tests of its API, but for those of erasure
// coded pools. SPIRULA_RADOS_PROGRAMS is a regular expression that chooses
// some, and SPIRULA_GTEST_FILTER some cases.
func TestCephsPrograms(t *testing.T) {
	c := judged(t)
	root := programs(t)
	choice, err := regexp.Compile(os.Getenv("SPIRULA_RADOS_PROGRAMS"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range apiPrograms {
		if !choice.MatchString(p.name) {
			continue
		}
		t.Run(strings.TrimPrefix(strings.TrimPrefix(p.name, "ceph_test_"), "rados_"), func(t *testing.T) {
			t.Parallel()
			r := newGtest(t, c, root, p.name)
			begin := time.Now()
			passed, skipped := r.all()
			t.Logf("%d passed, %d skipped themselves, in %.1f s: %v", len(passed), len(skipped), time.Since(begin).Seconds(), r.slow)
			want := p.cases - len(r.faulty())
			if n := len(passed) + len(skipped); os.Getenv("SPIRULA_GTEST_FILTER") == "" && !t.Failed() && n != want {
				t.Errorf("%d cases, want %d", n, want)
			}
		})
	}
}

// gtest runs one program until every case of it was run once.
type gtest struct {
	*shell
	root, name string
	seen       []string
	slow       []string
}

func newGtest(t *testing.T, c cluster, root, name string) *gtest {
	return &gtest{shell: newShell(t, c), root: root, name: name}
}

// withLibraries gives the command of a program with libraries of its own.
func (s *shell) withLibraries(root, name string, args ...string) (string, []string) {
	lib := root + "/usr/lib/x86_64-linux-gnu"
	return root + "/usr/lib64/ld-linux-x86-64.so.2", append([]string{"--library-path", lib + ":" + lib + "/ceph:" + lib + "/nss", root + "/usr/bin/" + name}, args...)
}

// maxRestarts bounds how often a program goes on after a case that ended it.
const maxRestarts = 5

// all gives the names of the cases that passed and that skipped themselves.
// A case that crashes or does not end is a failure, and the others go on.
func (g *gtest) all() (passed, skipped []string) {
	g.Helper()
	for range maxRestarts {
		out, err := g.once()
		run := parseGtest(out)
		for name, c := range run {
			g.seen = append(g.seen, name)
			switch c.state {
			case "OK":
				passed = append(passed, name)
			case "SKIPPED":
				skipped = append(skipped, name)
			case "FAILED":
				g.Errorf("%s failed:\n%s", name, c.text)
			default:
				g.Errorf("%s did not end (%v):\n%s", name, err, c.text)
			}
			if c.seconds >= 5 {
				g.slow = append(g.slow, fmt.Sprintf("%s %.0f s", name, c.seconds))
			}
		}
		if strings.Contains(out, "Global test environment tear-down") || strings.Contains(out, "Running 0 tests") {
			return passed, skipped
		}
		if len(run) == 0 {
			g.Errorf("%s ran nothing: %v\n%s", g.name, err, out[max(0, len(out)-4000):])
			return passed, skipped
		}
	}
	g.Errorf("%s was ended by %d of its cases", g.name, maxRestarts)
	return passed, skipped
}

// faulty gives the cases that this cluster is spared: none, if it is ours.
func (g *gtest) faulty() []string {
	var names []string
	for _, f := range faulty {
		if g.foreign && f.program == g.name {
			names = append(names, f.name)
		}
	}
	return names
}

// filter says which cases are left.
func (g *gtest) filter() string {
	not := append([]string{"*EC*", "*_ec"}, g.seen...)
	not = append(not, g.faulty()...)
	return "--gtest_filter=" + os.Getenv("SPIRULA_GTEST_FILTER") + "-" + strings.Join(not, ":")
}

func (g *gtest) once() (string, error) {
	ctx, cancel := context.WithTimeout(g.Context(), programTimeout)
	defer cancel()
	name, args := g.withLibraries(g.root, g.name, g.filter())
	log, err := os.Create(g.dir + "/log")
	if err != nil {
		g.Fatal(err)
	}
	defer log.Close()
	cmd := g.command(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		g.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	size, still := int64(0), time.Now()
	for {
		select {
		case err := <-done:
			return string(g.read("log")), err
		case <-time.After(time.Second):
		}
		if info, err := log.Stat(); err == nil && info.Size() != size {
			size, still = info.Size(), time.Now()
		} else if time.Since(still) > silence {
			cancel()
		}
	}
}

// silence is the longest that a program may print nothing: one case at most,
// of which some take a minute.
const silence = 4 * time.Minute

// gcase is what a program printed about one of its cases.
type gcase struct {
	state   string // OK, SKIPPED, FAILED, or RUN when it did not end
	seconds float64
	text    string
}

var gtestLine = regexp.MustCompile(`^\[ *(RUN|OK|SKIPPED|FAILED) *\] ([^ ]+\.[^ ,]+)(?:.* \((\d+) ms\))?$`)

// maxCaseText bounds what is shown of one case.
const maxCaseText = 3000

func parseGtest(out string) map[string]gcase {
	cases := map[string]gcase{}
	current := ""
	for line := range strings.Lines(out) {
		m := gtestLine.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if m == nil {
			if c, ok := cases[current]; ok && c.state == "RUN" {
				c.text += line
				c.text = c.text[max(0, len(c.text)-maxCaseText):]
				cases[current] = c
			}
			continue
		}
		if m[1] == "RUN" {
			current = m[2]
			cases[current] = gcase{state: "RUN"}
		} else if c, ok := cases[m[2]]; ok && c.state == "RUN" && m[3] != "" {
			ms, _ := strconv.Atoi(m[3])
			c.state, c.seconds = m[1], float64(ms)/1000
			cases[m[2]] = c
		}
	}
	return cases
}

func TestParseGtest(t *testing.T) {
	got := parseGtest("[==========] Running 4 tests\n[ RUN      ] A.ok\n[       OK ] A.ok (1500 ms)\n[ RUN      ] A.bad\nwhy\n[  FAILED  ] A.bad (1 ms)\n" +
		"[ RUN      ] A.typed/0\n[  FAILED  ] A.typed/0, where TypeParam = int (2 ms)\n[ RUN      ] A.hangs\nbusy\n[  FAILED  ] A.bad\n")
	want := map[string]gcase{"A.ok": {"OK", 1.5, ""}, "A.bad": {"FAILED", 0.001, "why\n"}, "A.typed/0": {"FAILED", 0.002, ""}, "A.hangs": {"RUN", 0, "busy\n"}}
	if len(got) != len(want) {
		t.Errorf("%+v", got)
	}
	for name, c := range want {
		if got[name] != c {
			t.Errorf("%s: %+v, want %+v", name, got[name], c)
		}
	}
}

// modelTimeout bounds the random operations: a real Ceph with three osds on
// one disk needs eight minutes.
const modelTimeout = 20 * time.Minute

// TestCephsRandomModel has ceph_test_rados compare random operations, with
// snapshots, rollback and copies, with its own model of them.
func TestCephsRandomModel(t *testing.T) {
	c := judged(t)
	root := programs(t)
	needs(t, "ceph")
	t.Parallel()
	s := newShell(t, c)
	pool := s.pool()
	args := []string{"--max-ops", "3000", "--objects", "50", "--max-in-flight", "16", "--size", "400000", "--min-stride-size", "20000", "--max-stride-size", "40000", "--pool", pool}
	for _, op := range []string{"read 100", "write 100", "write_excl 50", "delete 50", "snap_create 50", "snap_remove 50", "rollback 50", "copy_from 50", "setattr 25", "rmattr 25", "append 25", "append_excl 25"} {
		args = append(append(args, "--op"), strings.Fields(op)...)
	}
	name, all := s.withLibraries(root, "ceph_test_rados", args...)
	ctx, cancel := context.WithTimeout(t.Context(), modelTimeout)
	defer cancel()
	out, err := s.command(ctx, name, all...).CombinedOutput()
	text := string(out)
	if bad := slices.Collect(strings.Lines(text)); err != nil || len(bad) < 3000 {
		t.Errorf("%v after %d lines:\n%s", err, len(bad), text[max(0, len(text)-8000):])
	}
}
