package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"
)

// load is one run.
type load struct {
	c    *client
	o    *options
	body []byte
	next atomic.Int64 // number of the next new key
}

// content is what objects hold: bytes that no compression or dedup would
// shrink, the same in each run.
func content(size int) []byte {
	r := rand.New(rand.NewPCG(1, uint64(size)))
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func (l *load) key(i int64) string { return fmt.Sprintf("%sobject-%08d", l.o.prefix, i) }
func (l *load) newKey() string     { return fmt.Sprintf("%snew-%08d", l.o.prefix, l.next.Add(1)) }

// parallel runs f for the numbers below n on all workers; the first error
// ends it.
func (l *load) parallel(ctx context.Context, n int64, f func(i int64) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var at atomic.Int64
	var wg sync.WaitGroup
	for range l.o.concurrency {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := at.Add(1) - 1; i < n && ctx.Err() == nil; i = at.Add(1) - 1 {
				if err := f(i); err != nil {
					cancel(err)
				}
			}
		}()
	}
	wg.Wait()
	return context.Cause(ctx)
}

func (l *load) fill(ctx context.Context) error {
	return l.parallel(ctx, int64(l.o.objects), func(i int64) error { return l.c.put(ctx, l.key(i), l.body) })
}

func (l *load) cleanUp(ctx context.Context) error {
	for {
		p, err := l.c.list(ctx, l.o.prefix, "", 1000)
		if err != nil || len(p.Contents) == 0 {
			return err
		}
		err = l.parallel(ctx, int64(len(p.Contents)), func(i int64) error { return l.c.remove(ctx, p.Contents[i].Key) })
		if err != nil {
			return err
		}
	}
}

// worker gathers what one goroutine measured.
type worker struct {
	l         *load
	rnd       *rand.Rand
	buf       []byte
	listed    bytes.Buffer
	token     string
	latencies []time.Duration
	items     int64
	bytes     int64
	errors    int64
	first     error
}

// one runs one operation and gives how many things it did.
func (w *worker) one(ctx context.Context, name string) (items int64, err error) {
	l := w.l
	pick := func() string { return l.key(w.rnd.Int64N(int64(l.o.objects))) }
	switch name {
	case "put":
		err = l.c.put(ctx, l.newKey(), l.body)
		w.bytes += int64(len(l.body))
	case "get":
		err = l.c.get(ctx, pick(), l.body, w.buf, l.o.verify)
		w.bytes += int64(len(l.body))
	case "stat":
		err = l.c.stat(ctx, pick())
	case "list":
		var n int
		n, w.token, err = l.c.scanList(ctx, l.o.prefix+"object-", w.token, &w.listed)
		return int64(n), err
	case "mixed":
		return w.mixed(ctx)
	}
	return 1, err
}

// mixed is the usual mix of the warp benchmark.
func (w *worker) mixed(ctx context.Context) (int64, error) {
	switch p := w.rnd.IntN(100); {
	case p < 45:
		return w.one(ctx, "get")
	case p < 75:
		return w.one(ctx, "stat")
	case p < 90:
		return w.one(ctx, "put")
	}
	key := w.l.newKey()
	if err := w.l.c.put(ctx, key, w.l.body); err != nil {
		return 1, err
	}
	return 1, w.l.c.remove(ctx, key)
}

func (w *worker) run(ctx context.Context, name string, until time.Time) {
	for ctx.Err() == nil {
		start := time.Now()
		if start.After(until) {
			return
		}
		n, err := w.one(ctx, name)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			w.errors++
			if w.first == nil {
				w.first = err
			}
			continue
		}
		w.items += n
		w.latencies = append(w.latencies, time.Since(start))
	}
}

// result is what a run prints.
type result struct {
	Operation   string  `json:"operation"`
	Size        int     `json:"size_bytes"`
	Concurrency int     `json:"concurrency"`
	Seconds     float64 `json:"seconds"`
	Operations  int     `json:"operations"`
	Items       int64   `json:"items"` // keys for list, otherwise operations
	ItemsPerSec float64 `json:"items_per_second"`
	MiBPerSec   float64 `json:"mib_per_second"`
	P50ms       float64 `json:"latency_p50_ms"`
	P90ms       float64 `json:"latency_p90_ms"`
	P99ms       float64 `json:"latency_p99_ms"`
	MaxMS       float64 `json:"latency_max_ms"`
	Errors      int64   `json:"errors"`
	FirstError  string  `json:"first_error,omitempty"`
}

func (l *load) measure(ctx context.Context, name string) *result {
	workers := make([]*worker, l.o.concurrency)
	var wg sync.WaitGroup
	start := time.Now()
	until := start.Add(l.o.duration)
	for i := range workers {
		workers[i] = &worker{l: l, rnd: rand.New(rand.NewPCG(uint64(i), 7)), buf: make([]byte, 256<<10)}
		wg.Add(1)
		go func() {
			defer wg.Done()
			workers[i].run(ctx, name, until)
		}()
	}
	wg.Wait()
	r := &result{Operation: name, Size: len(l.body), Concurrency: l.o.concurrency, Seconds: time.Since(start).Seconds()}
	var all []time.Duration
	var bytes int64
	for _, w := range workers {
		all = append(all, w.latencies...)
		r.Items += w.items
		r.Errors += w.errors
		bytes += w.bytes
		if w.first != nil && r.FirstError == "" {
			r.FirstError = w.first.Error()
		}
	}
	r.Operations = len(all)
	r.ItemsPerSec = float64(r.Items) / r.Seconds
	r.MiBPerSec = float64(bytes) / r.Seconds / (1 << 20)
	if len(all) > 0 {
		slices.Sort(all)
		at := func(q float64) float64 { return float64(all[int(q*float64(len(all)-1))]) / 1e6 }
		r.P50ms, r.P90ms, r.P99ms, r.MaxMS = at(.5), at(.9), at(.99), at(1)
	}
	return r
}

func (r *result) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	defer t.Flush()
	fmt.Fprintln(t, "OPERATION\tSIZE\tWORKERS\tSECONDS\tPER SECOND\tMiB/s\tP50 ms\tP90 ms\tP99 ms\tMAX ms\tERRORS")
	fmt.Fprintf(t, "%s\t%d\t%d\t%.1f\t%.0f\t%.1f\t%.2f\t%.2f\t%.2f\t%.2f\t%d\n", r.Operation, r.Size, r.Concurrency, r.Seconds,
		r.ItemsPerSec, r.MiBPerSec, r.P50ms, r.P90ms, r.P99ms, r.MaxMS, r.Errors)
}
