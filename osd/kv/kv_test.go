package kv

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/rados/wire"
)

// testOptions are small sizes, so that a test flushes and compacts often.
func testOptions(t testing.TB, journal bool) Options {
	return Options{
		Journal: journal, WriteBuffer: 16 << 10, BlockCache: 64 << 10,
		Fatal: func(err error) { t.Errorf("fatal: %v", err) },
	}
}

func mustOpen(t testing.TB, d disk.Disk, o Options) *DB {
	t.Helper()
	db, err := Open(d, "kv", o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return db
}

// content reads all keys.
func content(t testing.TB, db *DB) map[string]string {
	t.Helper()
	got := map[string]string{}
	it := db.NewIter(nil, nil)
	for it.Next() {
		got[string(it.Key())] = string(it.Value())
	}
	if err := it.Close(); err != nil {
		t.Fatalf("iterating: %v", err)
	}
	return got
}

// randomBatch makes a batch and does the same to the model.
func randomBatch(rng *rand.Rand, b *Batch, model map[string]string) {
	b.Reset()
	for range 1 + rng.IntN(8) {
		key := fmt.Sprintf("k%03d", rng.IntN(400))
		if rng.IntN(4) == 0 {
			b.Delete([]byte(key))
			delete(model, key)
			continue
		}
		value := make([]byte, rng.IntN(600))
		for i := range value {
			value[i] = byte(rng.Uint32())
		}
		b.Put([]byte(key), value)
		model[key] = string(value)
	}
}

// TestModel compares a DB with a map under random changes and reopenings.
func TestModel(t *testing.T) {
	for _, journal := range []bool{false, true} {
		t.Run(fmt.Sprintf("journal=%v", journal), func(t *testing.T) {
			seed := rand.Uint64()
			rng := rand.New(rand.NewPCG(seed, 1))
			defer func() {
				if t.Failed() {
					t.Logf("seed %d", seed)
				}
			}()
			d := disk.NewMem()
			db := mustOpen(t, d, testOptions(t, journal))
			model := map[string]string{}
			var b Batch
			for seq := uint64(1); seq <= 1500; seq++ {
				randomBatch(rng, &b, model)
				if err := db.Apply(&b, seq); err != nil {
					t.Fatalf("Apply %d: %v", seq, err)
				}
				checkKey(t, rng, db, model)
				switch rng.IntN(300) {
				case 0:
					if err := db.ForceFlush(); err != nil {
						t.Fatal(err)
					}
					if db.Durable() != seq {
						t.Fatalf("durable %d after a flush at %d", db.Durable(), seq)
					}
				case 1:
					if err := db.Close(); err != nil {
						t.Fatalf("Close: %v", err)
					}
					db = mustOpen(t, d, testOptions(t, journal))
					db.Start(seq)
				case 2:
					if err := db.Compact(nil, nil); err != nil {
						t.Fatalf("Compact: %v", err)
					}
				}
			}
			if got := content(t, db); !maps.Equal(got, model) {
				t.Fatalf("%d keys, model has %d", len(got), len(model))
			}
			checkBackward(t, db, model)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatalf("second Close: %v", err)
			}
		})
	}
}

func checkKey(t *testing.T, rng *rand.Rand, db *DB, model map[string]string) {
	t.Helper()
	key := fmt.Sprintf("k%03d", rng.IntN(400))
	want, there := model[key]
	got, err := db.Get([]byte(key), []byte("x"))
	if there && (err != nil || string(got) != "x"+want) {
		t.Fatalf("Get %s: %d bytes, %v; want %d bytes", key, len(got), err, len(want))
	}
	if !there && wire.ErrnoOf(err) != wire.ENOENT {
		t.Fatalf("Get of an absent key: %v", err)
	}
	if has, err := db.Has([]byte(key)); err != nil || has != there {
		t.Fatalf("Has %s: %v, %v; want %v", key, has, err, there)
	}
}

// checkBackward walks a part of the range backward.
func checkBackward(t *testing.T, db *DB, model map[string]string) {
	t.Helper()
	var want []string
	for k := range model {
		if k >= "k100" && k < "k300" {
			want = append(want, k)
		}
	}
	slices.Sort(want)
	slices.Reverse(want)
	it := db.NewIter([]byte("k100"), []byte("k300"))
	defer it.Close()
	var got []string
	for ok := it.Last(); ok; ok = it.Prev() {
		got = append(got, string(it.Key()))
	}
	if !slices.Equal(got, want) {
		t.Fatalf("backward %v\nwant %v", got, want)
	}
	if it.Seek([]byte("k200")) && bytes.Compare(it.Key(), []byte("k200")) < 0 {
		t.Fatalf("Seek came to %s", it.Key())
	}
}

// crashRun runs random batches, cuts the power at a random call, and checks
// what is found against the history.
func crashRun(t *testing.T, seed uint64, journal bool) {
	rng := rand.New(rand.NewPCG(seed, 2))
	d := disk.NewMem()
	history := []map[string]string{{}}
	base := 0 // the batch that the content at open is that of
	for round := range 3 {
		cut := 3 + rng.IntN(120) // the hook runs under the disk's lock
		var armed atomic.Bool
		d.SetHook(func(e disk.Event) error {
			if !armed.Load() || e.Op == "read" {
				return nil
			}
			if cut--; cut > 0 {
				return nil
			}
			return wire.EIO
		})
		armed.Store(round > 0 || rng.IntN(2) == 0)
		o := testOptions(t, journal)
		o.Fatal = func(error) {}
		db, err := Open(d, "kv", o)
		armed.Store(true)
		durable := base
		if err == nil {
			db.Start(uint64(base))
			model := maps.Clone(history[base])
			history = history[:base+1]
			var b Batch
			for seq := base + 1; ; seq++ {
				randomBatch(rng, &b, model)
				history = append(history, maps.Clone(model))
				if journal && rng.IntN(3) == 0 {
					err = db.ApplySync(&b, uint64(seq))
				} else {
					err = db.Apply(&b, uint64(seq))
				}
				if err == nil && rng.IntN(200) == 0 {
					err = db.ForceFlush()
				}
				if err != nil {
					break
				}
			}
			durable = int(db.Durable())
			d.PowerOff()
			_ = db.Close() // its disk is gone
		}
		d = d.Crash(rng)
		db, err = Open(d, "kv", testOptions(t, journal))
		if err != nil {
			t.Fatalf("seed %d round %d: open after the crash: %v", seed, round, err)
		}
		got := content(t, db)
		found := -1
		for i := len(history) - 1; i >= durable; i-- {
			if maps.Equal(history[i], got) {
				found = i
				break
			}
		}
		if found < 0 {
			t.Fatalf("seed %d round %d: content is none of the %d batches from %d on", seed, round, len(history), durable)
		}
		base = found
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPowerCut: what is found after a power cut at any call is a prefix of the
// batches, at or after Durable.
func TestPowerCut(t *testing.T) {
	skipRace(t)
	seed := rand.Uint64()
	for _, journal := range []bool{false, true} {
		t.Run(fmt.Sprintf("journal=%v", journal), func(t *testing.T) {
			for i := range uint64(60) {
				crashRun(t, seed+i, journal)
			}
		})
	}
}
