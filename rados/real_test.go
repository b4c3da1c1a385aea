package rados_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/radostest"
)

// dialReal connects to the cluster whose ceph.conf SPIRULA_CEPH_CONF names,
// Ceph's or another.
func dialReal(t *testing.T) *rados.Client {
	t.Helper()
	path := os.Getenv("SPIRULA_CEPH_CONF")
	if path == "" {
		t.Skip("set SPIRULA_CEPH_CONF to a ceph.conf to run this")
	}
	conf, err := rados.ReadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, err := rados.Dial(ctx, conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestSuiteReal(t *testing.T) { radostest.Suite(t, dialReal(t), 400) }

// TestFaultsReal appends numbers to a few objects while sessions break and
// OSDs die, and reads them back: each is there once, in order. SPIRULA_CEPH_RUN
// names a program that is run with "down ID" and "up ID" to stop and start an
// OSD; without it only sessions break, if the cluster can inject that.
func TestFaultsReal(t *testing.T) {
	c := dialReal(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	name := fmt.Sprint("faults-", c.ID())
	if err := c.CreatePool(ctx, name, rados.PoolOptions{PGNum: 8}); err != nil {
		t.Fatal(err)
	}
	defer c.DeletePool(ctx, name)
	x, err := c.IOCtx(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	set := func(cmd map[string]any) {
		if _, err := c.MonCommand(ctx, cmd, nil); err != nil {
			t.Log(err) // not every cluster can
		}
	}
	set(map[string]any{"prefix": "config set", "who": "osd", "name": "ms_inject_socket_failures", "value": "300"})
	defer set(map[string]any{"prefix": "config rm", "who": "osd", "name": "ms_inject_socket_failures"})
	if err := x.Create(ctx, "watched", true); err != nil {
		t.Fatal(err)
	}
	var heard atomic.Int64
	w, err := x.Watch(ctx, "watched", rados.WatchOptions{OnNotify: func(n *rados.Notification) {
		heard.Add(1)
		n.Ack(ctx, nil)
	}, OnError: func(err error) { t.Error("watch:", err) }})
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var faults sync.WaitGroup
	if run := os.Getenv("SPIRULA_CEPH_RUN"); run != "" {
		faults.Go(func() {
			for i := range 3 {
				for _, what := range []string{"down", "up"} {
					if out, err := exec.Command(run, what, fmt.Sprint(i)).CombinedOutput(); err != nil {
						t.Errorf("%s: %v\n%s", what, err, out)
					}
					time.Sleep(3 * time.Second)
				}
			}
			close(stop)
		})
	} else {
		time.AfterFunc(15*time.Second, func() { close(stop) })
	}
	const objects, window = 4, 16
	var writers sync.WaitGroup
	var total atomic.Int64
	for o := range objects {
		writers.Go(func() {
			object := fmt.Sprint("o", o)
			var calls []*rados.Call
			n := 0
			for running := true; running || len(calls) > 0; {
				select {
				case <-stop:
					running = false
				default:
				}
				if running && len(calls) < window {
					calls = append(calls, x.Start(ctx, appendOp(object, fmt.Sprintf("%d,", n))))
					n++
					continue
				}
				if _, err := calls[0].Wait(ctx); err != nil {
					t.Errorf("%s: append: %v", object, err)
					return
				}
				calls = calls[1:]
			}
			total.Add(int64(n))
			var want strings.Builder
			for i := range n {
				fmt.Fprintf(&want, "%d,", i)
			}
			got, err := x.ReadAll(ctx, object)
			if err != nil || string(got) != want.String() {
				t.Errorf("%s: %d bytes, %v, want %d", object, len(got), err, want.Len())
			}
		})
	}
	writers.Wait()
	faults.Wait()
	before := heard.Load()
	res, err := x.Notify(ctx, "watched", []byte("x"), 20*time.Second)
	if err != nil || len(res.Replies) != 1 || heard.Load() == before {
		t.Errorf("notify: %+v, %v; heard %d", res, err, heard.Load())
	}
	if err := w.Close(ctx); err != nil {
		t.Error(err)
	}
	m := &c.Metrics
	t.Logf("%d appends, %d resets, %d resent, %d maps, %d backoffs, %d late", total.Load(), m.Resets.Load(), m.Resent.Load(), m.Maps.Load(), m.Blocks.Load(), m.Late.Load())
}
