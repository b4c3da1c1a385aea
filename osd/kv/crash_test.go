package kv

import (
	"bufio"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spirula/spirula/osd/disk"
)

// numbered is batch seq of a history that depends on nothing but seed and seq.
// Every batch sets "seq".
func numbered(seed, seq uint64, b *Batch, model map[string]string) {
	randomBatch(rand.New(rand.NewPCG(seed, seq)), b, model)
	s := strconv.FormatUint(seq, 10)
	b.Put([]byte("seq"), []byte(s))
	model["seq"] = s
}

// checkNumbered checks that db holds exactly the first batches of the history,
// at least durable of them, and says how many.
func checkNumbered(t *testing.T, db *DB, seed, durable uint64) uint64 {
	t.Helper()
	got := content(t, db)
	found := uint64(0)
	if s, ok := got["seq"]; ok {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		found = n
	}
	if found < durable {
		t.Fatalf("seed %d: %d batches found, %d were durable", seed, found, durable)
	}
	model := map[string]string{}
	var b Batch
	for seq := uint64(1); seq <= found; seq++ {
		numbered(seed, seq, &b, model)
	}
	if !maps.Equal(got, model) {
		t.Fatalf("seed %d: content isn't that of batch %d", seed, found)
	}
	return found
}

// historyRun applies batches until the disk has no power, syncing or flushing
// now and then, and says what was durable.
func historyRun(d disk.Disk, seed uint64, batches uint64, o Options) uint64 {
	o.Fatal = func(error) {}
	db, err := Open(d, "kv", o)
	if err != nil {
		return 0
	}
	model := map[string]string{}
	var b Batch
	for seq := uint64(1); seq <= batches && err == nil; seq++ {
		numbered(seed, seq, &b, model)
		if o.Journal && seq%3 == 0 {
			err = db.ApplySync(&b, seq)
		} else {
			err = db.Apply(&b, seq)
		}
		if err == nil && seq%40 == 0 {
			err = db.ForceFlush()
		}
	}
	durable := db.Durable()
	_ = db.Close() // fails when the power is off
	return durable
}

// skipRace skips tests in which compactions fail amid writes: goleveldb's
// writer then closes a channel that the compaction sends on, and recovers from
// the panic, which the race detector reports.
func skipRace(t *testing.T) {
	if raceBuild {
		t.Skip("goleveldb races with itself when the disk fails")
	}
}

// TestCutAtEverySync cuts the power at each sync of a history in turn.
func TestCutAtEverySync(t *testing.T) {
	skipRace(t)
	const seed, batches = 42, 120
	for _, journal := range []bool{false, true} {
		t.Run(fmt.Sprintf("journal=%v", journal), func(t *testing.T) {
			o := testOptions(t, journal)
			cuts := 0
			for n := int64(1); ; n++ {
				d := disk.NewMem()
				d.PowerOffAt(n, "sync", "syncdir")
				durable := historyRun(d, seed, batches, o)
				if _, _, err := d.Space(); err == nil {
					break // it had fewer syncs
				}
				cuts++
				db := mustOpen(t, d.Crash(rand.New(rand.NewPCG(seed, uint64(n)))), o)
				checkNumbered(t, db, seed, durable)
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if cuts < 20 {
				t.Fatalf("only %d syncs", cuts)
			}
		})
	}
}

const childEnv = "KV_TEST_CHILD" // "DIR SEED JOURNAL"

// TestKillChild is not a test but the process that TestKill kills.
func TestKillChild(t *testing.T) {
	args := strings.Fields(os.Getenv(childEnv))
	if len(args) != 3 {
		t.Skip("runs only as the child of TestKill")
	}
	d, err := disk.OpenDir(args[0])
	if err != nil {
		t.Fatal(err)
	}
	seed, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	o := testOptions(t, args[2] == "true")
	db := mustOpen(t, d, o)
	first := uint64(1)
	if v, err := db.Get([]byte("seq"), nil); err == nil {
		n, err := strconv.ParseUint(string(v), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		first = n + 1
	}
	db.Start(first - 1)
	var b Batch
	for seq := first; ; seq++ {
		numbered(seed, seq, &b, map[string]string{})
		if o.Journal && seq%5 == 0 {
			err = db.ApplySync(&b, seq)
		} else {
			err = db.Apply(&b, seq)
		}
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("durable %d\n", db.Durable())
	}
}

// TestKill kills a process amid its writes, again and again on one folder.
func TestKill(t *testing.T) {
	for _, journal := range []bool{false, true} {
		t.Run(fmt.Sprintf("journal=%v", journal), func(t *testing.T) {
			dir, seed := t.TempDir(), rand.Uint64()
			last := uint64(0)
			for round := range 4 {
				cmd := exec.Command(os.Args[0], "-test.run=^TestKillChild$")
				cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %v", childEnv, dir, seed, journal))
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				go func() {
					time.Sleep(time.Duration(50+rand.IntN(150)) * time.Millisecond)
					_ = cmd.Process.Kill() // it may have failed by itself, which shows below
				}()
				durable, lines := last, 0
				for in := bufio.NewScanner(out); in.Scan(); {
					if n, ok := strings.CutPrefix(in.Text(), "durable "); ok {
						lines++
						if d, err := strconv.ParseUint(n, 10, 64); err == nil && d > durable {
							durable = d
						}
					}
				}
				if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
					t.Fatalf("the child ended by itself: %v", err)
				}
				d, err := disk.OpenDir(dir)
				if err != nil {
					t.Fatal(err)
				}
				db := mustOpen(t, d, testOptions(t, journal))
				last = checkNumbered(t, db, seed, durable)
				t.Logf("round %d: %d lines, durable %d, found %d", round, lines, durable, last)
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if last == 0 {
				t.Fatal("nothing was ever found")
			}
		})
	}
}
