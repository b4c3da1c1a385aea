package rados

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spirula/spirula/rados"
)

// cleanTimeout bounds how long recovery may take after an OSD is back.
const cleanTimeout = 3 * time.Minute

// client connects our client to a cluster.
func client(t *testing.T, conf string) *rados.Client {
	t.Helper()
	c, err := rados.ReadConfig(conf)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cl, err := rados.Dial(ctx, c, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// content is what an object has by all that was acknowledged.
type content struct {
	data []byte
	attr string
	omap map[string]string
}

// writer changes objects of its own, one operation at a time, and knows what
// they must have.
type writer struct {
	io      *rados.IOCtx
	rnd     *rand.Rand
	name    string
	objects map[string]*content
	ops     int
	slowest time.Duration
}

// objectsPerWriter and maxObject bound what a writer makes.
const (
	objectsPerWriter = 60
	maxObject        = 256 << 10
)

// step does one random operation, and takes it into account once it is
// acknowledged.
func (w *writer) step(ctx context.Context) error {
	name := fmt.Sprintf("%s-%d", w.name, w.rnd.IntN(objectsPerWriter))
	o := w.objects[name]
	if o == nil {
		o = &content{omap: map[string]string{}}
	}
	next := &content{data: bytes.Clone(o.data), attr: o.attr, omap: maps.Clone(o.omap)}
	piece := make([]byte, 1+w.rnd.IntN(64<<10))
	for i := range piece {
		piece[i] = byte(w.rnd.Uint32())
	}
	var err error
	begin := time.Now()
	switch k := w.rnd.IntN(10); {
	case k < 4 || len(o.data) == 0:
		next.data = piece
		err = w.io.WriteFull(ctx, name, piece)
	case k < 6 && len(o.data) < maxObject:
		next.data = append(next.data, piece...)
		err = w.io.Append(ctx, name, piece)
	case k < 7:
		at := w.rnd.IntN(len(next.data))
		next.data = append(next.data[:at], append(piece, next.data[min(len(next.data), at+len(piece)):]...)...)
		err = w.io.Write(ctx, name, piece, uint64(at))
	case k < 8:
		next.attr = fmt.Sprint(w.rnd.Uint32())
		err = w.io.SetXattr(ctx, name, "attr", []byte(next.attr))
	case k < 9:
		key, value := fmt.Sprint("key-", w.rnd.IntN(20)), fmt.Sprint(w.rnd.Uint64())
		next.omap[key] = value
		err = w.io.SetOmap(ctx, name, map[string][]byte{key: []byte(value)})
	default:
		next = nil
		err = w.io.Remove(ctx, name)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	w.ops++
	w.slowest = max(w.slowest, time.Since(begin))
	if next == nil {
		delete(w.objects, name)
	} else {
		w.objects[name] = next
	}
	return nil
}

// check reads everything back.
func (w *writer) check(ctx context.Context, t *testing.T) {
	t.Helper()
	for i := range objectsPerWriter {
		name := fmt.Sprintf("%s-%d", w.name, i)
		want := w.objects[name]
		data, err := w.io.ReadAll(ctx, name)
		if want == nil {
			if err == nil {
				t.Errorf("%s was removed, and has %d bytes", name, len(data))
			}
			continue
		}
		if err != nil || !bytes.Equal(data, want.data) {
			t.Errorf("%s: %d bytes, %v; want other %d", name, len(data), err, len(want.data))
		}
		if attr, _ := w.io.GetXattr(ctx, name, "attr"); string(attr) != want.attr {
			t.Errorf("%s: attribute %q, want %q", name, attr, want.attr)
		}
		kvs, _, err := w.io.GetOmapValues(ctx, name, "", "", 1000)
		got := map[string]string{}
		for _, kv := range kvs {
			got[string(kv.Key)] = string(kv.Value)
		}
		if err != nil || !maps.Equal(got, want.omap) {
			t.Errorf("%s: omap %v, %v; want %v", name, got, err, want.omap)
		}
	}
}

// load is writers at work on pools, until it is stopped.
type load struct {
	writers []*writer
	stop    context.CancelFunc
	work    sync.WaitGroup
	t       *testing.T
}

func startLoad(t *testing.T, c *rados.Client, pools []string, seed uint64) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{stop: cancel, t: t}
	for i := range 4 * len(pools) {
		io, err := c.IOCtx(t.Context(), pools[i%len(pools)])
		if err != nil {
			t.Fatal(err)
		}
		w := &writer{io: io, rnd: rand.New(rand.NewPCG(seed, uint64(i))), name: fmt.Sprintf("w%d", i), objects: map[string]*content{}}
		l.writers = append(l.writers, w)
		l.work.Go(func() {
			for ctx.Err() == nil {
				// An operation under way when the load stops is finished.
				if err := w.step(t.Context()); err != nil {
					t.Errorf("a client's error: %v", err)
					return
				}
			}
		})
	}
	return l
}

// finish stops the load and compares everything.
func (l *load) finish() {
	l.t.Helper()
	l.stop()
	l.work.Wait()
	ctx, cancel := context.WithTimeout(l.t.Context(), 2*time.Minute)
	defer cancel()
	ops, slowest := 0, time.Duration(0)
	for _, w := range l.writers {
		w.check(ctx, l.t)
		ops += w.ops
		slowest = max(slowest, w.slowest)
	}
	l.t.Logf("%d operations acknowledged, the slowest in %.1f s", ops, slowest.Seconds())
}

// bench is `rados bench` in the background, which must not see an error.
func (d *daemons) bench(pool string, seconds int) (wait func()) {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), time.Duration(seconds)*time.Second+cleanTimeout)
	cmd := d.command(ctx, "rados", "-p", pool, "bench", strconv.Itoa(seconds), "write", "-b", "65536", "-t", "8", "--no-cleanup", "--run-name", "kills")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		d.Fatal(err)
	}
	return func() {
		d.Helper()
		defer cancel()
		if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), "Total writes made") {
			d.Errorf("rados bench: %v\n%s", err, out.String()[max(0, out.Len()-3000):])
		}
	}
}

func envInt(name string, def int) int {
	if v, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return v
	}
	return def
}

// TestKilledOSDsLoseNothing kills one of three OSDs again and again while
// clients write. SPIRULA_KILLS says how often, SPIRULA_SEED which ones.
func TestKilledOSDsLoseNothing(t *testing.T) {
	d := startDaemons(t, 3)
	kills, seed := envInt("SPIRULA_KILLS", 3), uint64(envInt("SPIRULA_SEED", int(time.Now().UnixNano()%1e6)))
	t.Logf("SPIRULA_SEED=%d SPIRULA_KILLS=%d", seed, kills)
	rnd := rand.New(rand.NewPCG(seed, 7))
	three, two := d.replicated(3), d.replicated(2)
	d.clean(time.Minute)
	c := client(t, d.conf)
	l := startLoad(t, c, []string{three, two}, seed)
	for i := range kills {
		wait := d.bench(three, 10)
		time.Sleep(time.Duration(500+rnd.IntN(1500)) * time.Millisecond)
		victim := rnd.IntN(len(d.osds))
		d.osds[victim].Kill()
		if i%2 == 0 {
			// Long enough that the others go on without it.
			d.eventually(time.Minute, fmt.Sprintf("osd.%d is marked down", victim), func() bool { return d.upOSDs() == 2 })
			time.Sleep(2 * time.Second)
		}
		if err := d.osds[victim].Up(); err != nil {
			t.Fatalf("osd.%d does not come back: %v", victim, err)
		}
		begin := time.Now()
		d.eventually(time.Minute, "all OSDs are up", func() bool { return d.upOSDs() == 3 })
		d.clean(cleanTimeout)
		t.Logf("kill %d of osd.%d: all clean %.1f s after it was back", i+1, victim, time.Since(begin).Seconds())
		wait()
	}
	l.finish()
	d.clean(cleanTimeout)
	d.run("rados", "-p", three, "cleanup", "--run-name", "kills")
	d.compareReplicas(copiesOf(t, c, map[string]int{three: 3, two: 2}))
}

func copiesOf(t *testing.T, c *rados.Client, pools map[string]int) map[int64]int {
	t.Helper()
	copies := map[int64]int{}
	for name, n := range pools {
		id, err := c.PoolLookup(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		copies[id] = n
	}
	return copies
}

// TestALateOSDCatchesUpByBackfill has an OSD miss more changes than the logs of
// its placement groups keep.
func TestALateOSDCatchesUpByBackfill(t *testing.T) {
	d := startDaemons(t, 3)
	pool := d.replicated(3)
	d.clean(time.Minute)
	c := client(t, d.conf)
	l := startLoad(t, c, []string{pool}, 5)
	time.Sleep(2 * time.Second)
	d.osds[1].Kill()
	d.eventually(time.Minute, "osd.1 is marked down", func() bool { return d.upOSDs() == 2 })
	// More changes than a placement group's log has room for.
	d.run("rados", "-p", pool, "bench", strconv.Itoa(envInt("SPIRULA_BACKFILL", 10)), "write", "-b", "512", "-t", "64", "--no-cleanup", "--run-name", "late")
	if err := d.osds[1].Up(); err != nil {
		t.Fatal(err)
	}
	d.eventually(time.Minute, "osd.1 is up", func() bool { return d.upOSDs() == 3 })
	d.clean(cleanTimeout)
	l.finish()
	d.clean(cleanTimeout)
	d.compareReplicas(copiesOf(t, c, map[string]int{pool: 3}))
}

// TestTheMonIsKilled has the mon come back while clients work, and once with
// all OSDs.
func TestTheMonIsKilled(t *testing.T) {
	d := startDaemons(t, 3)
	pool := d.replicated(3)
	d.clean(time.Minute)
	c := client(t, d.conf)
	l := startLoad(t, c, []string{pool}, 9)
	for range 3 {
		time.Sleep(time.Second)
		d.mon.Kill()
		time.Sleep(time.Second)
		if err := d.mon.Up(); err != nil {
			t.Fatal(err)
		}
	}
	d.ceph("osd", "pool", "application", "enable", pool, "again", "--yes-i-really-mean-it")
	for _, p := range append(slices.Clone(d.osds), d.mon) {
		p.Kill()
	}
	if err := d.mon.Up(); err != nil {
		t.Fatal(err)
	}
	for _, p := range d.osds {
		if err := p.Up(); err != nil {
			t.Fatal(err)
		}
	}
	d.eventually(time.Minute, "all OSDs are up", func() bool { return d.upOSDs() == 3 })
	d.clean(cleanTimeout)
	l.finish()
	d.clean(cleanTimeout)
	d.compareReplicas(copiesOf(t, c, map[string]int{pool: 3}))
}
