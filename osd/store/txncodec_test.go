package store_test

import (
	"testing"

	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/osd/store/storetest"
	"github.com/spirula/spirula/rados/wire"
)

// TestTxnCodec sends random transactions through their encoding, and applies
// both to models.
func TestTxnCodec(t *testing.T) {
	for seed := range uint64(20) {
		r := storetest.NewRandom(seed, 3)
		a := storetest.NewModel(storetest.ModelOptions{Inline: true})
		b := storetest.NewModel(storetest.ModelOptions{Inline: true})
		for range 40 {
			tx := r.Txn()
			e := &wire.Encoder{}
			var data wire.Data
			tx.Encode(e, &data)
			off := 0
			d := wire.NewDecoder(e.B)
			got := store.DecodeTxn(d, data, &off)
			if d.Err() != nil || d.Len() != 0 || off != data.Len() {
				t.Fatalf("seed %d: %v, %d bytes and %d of data left", seed, d.Err(), d.Len(), data.Len()-off)
			}
			errA, errB := a.Queue(nil, tx, nil), b.Queue(nil, &got, nil)
			if (errA == nil) != (errB == nil) {
				t.Fatalf("seed %d: %v, after the trip %v", seed, errA, errB)
			}
			got.Release()
			data.Release()
			storetest.Release(tx)
		}
		if s := r.Compare(a, b); s != "" {
			t.Fatalf("seed %d: %s", seed, s)
		}
	}
}

func FuzzDecodeTxn(f *testing.F) {
	r := storetest.NewRandom(1, 3)
	for range 8 {
		e := &wire.Encoder{}
		var data wire.Data
		r.Txn().Encode(e, &data)
		f.Add(e.B, data.Bytes())
	}
	f.Fuzz(func(t *testing.T, front, data []byte) {
		off := 0
		d := wire.NewDecoder(front)
		tx := store.DecodeTxn(d, wire.DataOf(data), &off)
		if d.Err() != nil {
			return
		}
		e := &wire.Encoder{}
		var out wire.Data
		tx.Encode(e, &out)
		off = 0
		d = wire.NewDecoder(e.B)
		if again := store.DecodeTxn(d, out, &off); d.Err() != nil || len(again.Ops) != len(tx.Ops) {
			t.Fatalf("second trip: %v", d.Err())
		}
	})
}
