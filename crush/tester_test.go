package crush

import (
	"bytes"
	"errors"
	"testing"
)

// TestTesterOrder maps many inputs on one goroutine and on several: the
// output is the same.
func TestTesterOrder(t *testing.T) {
	m := largeMap(t, 1, 4, 3)
	var want, got bytes.Buffer
	for workers, to := range map[int]*bytes.Buffer{1: &want, 5: &got} {
		r := NewTester(m)
		r.MinX, r.MaxX, r.MinRep, r.MaxRep = 0, 99_999, 2, 3
		r.Mappings, r.Utilization, r.Workers = true, true, workers
		if err := r.Run(to); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got.Bytes(), want.Bytes()) || bytes.Count(want.Bytes(), []byte("CRUSH rule")) != 200_000 {
		g, w := firstDifference(got.Bytes(), want.Bytes())
		t.Errorf("%d bytes of %d: %q, want %q", got.Len(), want.Len(), g, w)
	}
}

// TestTesterStops holds Run to its first error.
func TestTesterStops(t *testing.T) {
	r := NewTester(largeMap(t, 1, 4, 3))
	r.MinX, r.MaxX, r.MinRep, r.MaxRep, r.Mappings = 0, 1<<20, 3, 3, true
	full := &fullWriter{room: 1 << 18}
	if err := r.Run(full); !errors.Is(err, errFull) {
		t.Errorf("error %v, want %v", err, errFull)
	}
}

// TestTesterBounds: what would take all memory is refused.
func TestTesterBounds(t *testing.T) {
	m := largeMap(t, 1, 1, 1)
	m.MaxDevices = undef
	if err := NewTester(m).Run(new(bytes.Buffer)); !errors.Is(err, ErrMap) {
		t.Errorf("2^31 devices: %v", err)
	}
	r := NewTester(largeMap(t, 1, 1, 1))
	r.MinRep, r.MaxRep = 1, 1<<30
	if err := r.Run(new(bytes.Buffer)); !errors.Is(err, ErrMap) {
		t.Errorf("2^30 wanted: %v", err)
	}
}

var errFull = errors.New("full")

type fullWriter struct{ room int }

func (w *fullWriter) Write(b []byte) (int, error) {
	if w.room -= len(b); w.room < 0 {
		return 0, errFull
	}
	return len(b), nil
}
