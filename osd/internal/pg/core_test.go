package pg

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/osd/store/storetest"
	"github.com/spirula/spirula/rados/wire"
)

var testPG = wire.SPGID{PGID: wire.PGID{Pool: 3, Seed: 5}, Shard: wire.NoShard}

func alone() Interval {
	return Interval{Up: []int32{0}, Acting: []int32{0}, Primary: 0, MinSize: 1, Size: 1, PGNum: 8, Exists: true}
}

// one is a PG on a model store whose commits the test decides about.
type one struct {
	t    *testing.T
	m    *storetest.Model
	core *Core
	f    Effects
	tid  uint64
}

func newOne(t *testing.T) *one {
	m := storetest.NewModel(storetest.ModelOptions{Inline: true})
	t.Cleanup(func() { m.Close() })
	o := &one{t: t, m: m, core: New(testPG, 0, 1)}
	tx := store.Txn{}
	o.core.Rows(&tx)
	o.queue(&tx)
	o.advance(1, alone())
	if !o.core.Active() || !o.f.Resume {
		t.Fatal("a PG alone is not active")
	}
	o.f.Reset()
	return o
}

// advance brings a map and makes durable what follows.
func (o *one) advance(epoch wire.Epoch, i Interval) {
	o.core.MapAdvance(epoch, i, &simMap{up: []bool{true}, upFrom: []wire.Epoch{1}, upThru: []wire.Epoch{0}}, &o.f)
	o.settle()
}

func (o *one) settle() {
	for tx, ok := o.f.TakeTxn(); ok; tx, ok = o.f.TakeTxn() {
		o.queue(tx)
		o.core.Persisted(&o.f)
	}
}

func (o *one) queue(t *store.Txn) {
	o.t.Helper()
	if err := o.m.Queue(nil, t, nil); err != nil {
		o.t.Fatal(err)
	}
}

func req(tid uint64) wire.ReqID {
	return wire.ReqID{Client: wire.EntityName{Type: wire.EntityClient, Num: 7}, TID: tid, Inc: 1}
}

func (o *one) admit(tid uint64) (*Write, Verdict, Dup) {
	w := &Write{ReqID: req(tid)}
	v, d := o.core.Admit(Ask{Epoch: 1, Write: w}, &o.f)
	return w, v, d
}

// write admits, submits and queues a write without committing it.
func (o *one) write() *Write {
	o.t.Helper()
	o.tid++
	w, v, _ := o.admit(o.tid)
	if v != Run {
		o.t.Fatalf("verdict %d", v)
	}
	tx := o.submit(w)
	o.queue(tx)
	o.core.Queued(w, store.Txn{}, &o.f)
	return w
}

func (o *one) submit(w *Write) *store.Txn {
	v := o.core.Next()
	w.Entry = Entry{Kind: KindModify, Object: wire.HObject{Pool: 3, Name: fmt.Sprint("o", w.ReqID.TID), Snap: wire.NoSnap},
		Version: v, UserVersion: v.Version, ReqID: w.ReqID, Stats: Stats{Objects: 1, Bytes: 10}}
	tx := &store.Txn{}
	o.core.Submit(w, tx)
	return tx
}

func TestAnswersInOrder(t *testing.T) {
	o := newOne(t)
	a, b, c := o.write(), o.write(), o.write()
	if !a.Entry.Version.Less(b.Entry.Version) || b.Entry.Version.Version+1 != c.Entry.Version.Version {
		t.Fatalf("versions %v %v %v", a.Entry.Version, b.Entry.Version, c.Entry.Version)
	}
	o.core.Committed(b, &o.f)
	if len(o.f.Answer) != 0 {
		t.Fatal("answered before an earlier one")
	}
	o.core.Committed(a, &o.f)
	if len(o.f.Answer) != 2 || o.f.Answer[0] != a || o.f.Answer[1] != b || o.core.InFlight() != 1 {
		t.Fatalf("answers %v, in flight %d", o.f.Answer, o.core.InFlight())
	}
}

func TestCommittedBeforeQueued(t *testing.T) {
	o := newOne(t)
	w, _, _ := o.admit(1)
	o.queue(o.submit(w))
	o.core.Committed(w, &o.f)
	if len(o.f.Answer) != 0 {
		t.Fatal("answered before the store's Queue returned")
	}
	o.core.Queued(w, store.Txn{}, &o.f)
	if len(o.f.Answer) != 1 {
		t.Fatal("not answered")
	}
}

func TestAbort(t *testing.T) {
	o := newOne(t)
	o.core.Committed(o.write(), &o.f)
	head, stats := o.core.LastUpdate(), o.core.Stats()
	w, _, _ := o.admit(99)
	o.submit(w)
	o.core.Abort(w)
	if o.core.LastUpdate() != head || o.core.Stats() != stats || o.core.InFlight() != 0 {
		t.Fatalf("after Abort: %v %v", o.core.LastUpdate(), o.core.Stats())
	}
	if _, v, _ := o.admit(99); v != Run {
		t.Fatalf("the request again: verdict %d", v)
	}
	if next := o.write(); next.Entry.Version.Version != head.Version+1 {
		t.Fatalf("next version %v after %v", next.Entry.Version, head)
	}
}

func TestDups(t *testing.T) {
	o := newOne(t)
	w := o.write()
	again, v, _ := o.admit(1)
	if v != Join || len(w.Joined) != 1 || w.Joined[0] != again {
		t.Fatalf("under way: verdict %d", v)
	}
	o.core.Committed(w, &o.f)
	_, v, d := o.admit(1)
	if v != Answer || d.Version != w.Entry.Version || d.UserVersion != w.Entry.UserVersion {
		t.Fatalf("done: verdict %d %+v", v, d)
	}
}

// TestTrim writes past every bound and loads the PG again after each step of
// trimming: memory and rows agree, and what is remembered is what is promised.
func TestTrim(t *testing.T) {
	o := newOne(t)
	total := LogMin + 5*TrimStep + 17
	for i := range total {
		o.core.Committed(o.write(), &o.f)
		o.f.Reset()
		if i%377 != 0 && i != total-1 {
			continue
		}
		n, err := Load(o.m, testPG, 0)
		if err != nil {
			t.Fatal(err)
		}
		compareCores(t, o.core, n)
	}
	if n := o.core.LogLen(); n < LogMin || n > LogMin+TrimStep {
		t.Fatalf("log of %d entries", n)
	}
	for tid := uint64(1); tid <= uint64(total); tid++ {
		_, ok := o.core.log.find(req(tid))
		if ok != (tid > uint64(total-o.core.LogLen())) {
			t.Fatalf("request %d of %d: remembered %v", tid, total, ok)
		}
	}
	if got := o.core.Stats(); got.Objects != int64(total) || got.Bytes != int64(10*total) {
		t.Fatalf("stats %+v", got)
	}
}

func compareCores(t *testing.T, a, b *Core) {
	t.Helper()
	if a.history.Created != b.history.Created || a.log.tail != b.log.tail || a.LastUpdate() != b.LastUpdate() || a.Stats() != b.Stats() {
		t.Fatalf("history %+v %+v, head %v %v", a.history, b.history, a.LastUpdate(), b.LastUpdate())
	}
	if x, y := a.log.entries[a.log.from:], b.log.entries[b.log.from:]; !slices.Equal(x, y) {
		t.Fatalf("logs:\n%+v\n%+v", x, y)
	}
	if len(a.log.byReq) != len(b.log.byReq) {
		t.Fatalf("%d and %d requests", len(a.log.byReq), len(b.log.byReq))
	}
}

func TestInterval(t *testing.T) {
	o := newOne(t)
	sub := o.write()
	run, _, _ := o.admit(50)
	o.f.Reset()
	same := alone()
	o.advance(2, same)
	if o.core.Since() != 1 || len(o.f.Forgot) != 0 {
		t.Fatal("the same interval ended something")
	}
	next := alone()
	next.MinSize, next.Size = 1, 2
	o.core.MapAdvance(3, next, &simMap{up: []bool{true}, upFrom: []wire.Epoch{1}, upThru: []wire.Epoch{3}}, &o.f)
	o.settle()
	if o.core.Since() != 3 || len(o.f.Forgot) != 2 || o.core.Alive(run) {
		t.Fatalf("since %d forgot %d", o.core.Since(), len(o.f.Forgot))
	}
	if v, _ := o.core.Admit(Ask{Epoch: 0}, &o.f); v != Drop {
		t.Fatalf("an old epoch: verdict %d", v)
	}
	if v, _ := o.core.Admit(Ask{Epoch: 2}, &o.f); v != Hold {
		t.Fatalf("an epoch of the same primary: verdict %d", v)
	}
	// What was under way comes to stable storage first; the resend finds it
	// in the log.
	w := &Write{ReqID: sub.ReqID}
	if v, _ := o.core.Admit(Ask{Epoch: 3, Write: w}, &o.f); v != Hold || o.core.Active() {
		t.Fatalf("resend: verdict %d", v)
	}
	o.f.Reset()
	o.core.Committed(sub, &o.f)
	o.settle()
	if !sub.Forgotten() || !o.core.Active() || !o.f.Resume {
		t.Fatal("not active when all is on stable storage")
	}
	if v, d := o.core.Admit(Ask{Epoch: 3, Write: w}, &o.f); v != Answer || d.Version != sub.Entry.Version {
		t.Fatalf("resend: verdict %d", v)
	}
	if v := o.core.Next(); v != (wire.EVersion{Epoch: 3, Version: 2}) {
		t.Fatalf("next version %v", v)
	}
	gone := Interval{Primary: -1}
	o.advance(4, gone)
	if v, _ := o.core.Admit(Ask{Epoch: 4}, &o.f); v != Drop || o.core.Active() {
		t.Fatalf("no pool: verdict %d", v)
	}
}

func TestMinSize(t *testing.T) {
	o := newOne(t)
	i := alone()
	i.MinSize, i.Size = 2, 3
	o.advance(2, i)
	if v, _ := o.core.Admit(Ask{Epoch: 2}, &o.f); v != Hold || o.core.State() != "undersized+degraded+peered" {
		t.Fatalf("verdict %d, %s", v, o.core.State())
	}
}

func TestDump(t *testing.T) {
	o := newOne(t)
	o.write()
	var b bytes.Buffer
	rows, _, err := o.m.MetaList(testPG, "", "", 100)
	if err != nil {
		t.Fatal(err)
	}
	head := wire.HObject{Pool: 3, Name: "x", Snap: wire.NoSnap}
	rows = append(rows, wire.KV{Key: SnapRow(9, head), Value: SnapRowValue(head)})
	for _, kv := range rows {
		if err := DumpRow(&b, kv.Key, kv.Value); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"info created 1", "log 1'1 modify 3:00000000:::o1:head", "snap 9 3:00000000:::x:head"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

// dump gives the PG's rows and objects as text.
func dump(t *testing.T, m *storetest.Model) []string {
	var out []string
	rows, _, err := m.MetaList(testPG, "", "", 100000)
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range rows {
		out = append(out, fmt.Sprintf("%q %x", kv.Key, kv.Value))
	}
	ids, _, err := m.List(wire.NoShard, wire.MinHObject, wire.MaxHObject, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		d, err := m.Read(id, 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%v %s", id.HObject, d.Bytes()))
	}
	return out
}

func FuzzDecode(f *testing.F) {
	e := Entry{Kind: KindModify, Object: wire.HObject{Pool: 3, Name: "o", Snap: wire.NoSnap}, Version: wire.EVersion{Epoch: 2, Version: 3},
		ReqID: req(4), Result: -2, Rvals: []int32{1, -2}, Stats: Stats{1, 2, 3},
		Replies: []wire.OpResult{{Value: []byte("v"), KVs: []wire.KV{{Key: "k", Value: []byte("w")}}, Keys: []string{"x"}, Data: wire.DataOf([]byte("d"))}}}
	m := Missing{Object: e.Object, Need: e.Version}
	st := standing{history: History{Created: 1, Past: []Past{{1, 2, []int32{0, 1}}}}, interval: alone()}
	f.Add(e.Encode())
	f.Add(encodeInfo(3, e.Version))
	f.Add(m.encode())
	f.Add(st.encode())
	f.Add(SnapRowValue(e.Object))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, p []byte) {
		if e, err := DecodeEntry(p); err == nil {
			again, err := DecodeEntry(e.Encode())
			if err != nil || !bytes.Equal(again.Encode(), e.Encode()) {
				t.Fatalf("%+v %v", e, err)
			}
		} else if wire.ErrnoOf(err) != wire.EIO {
			t.Fatal(err)
		}
		decodeInfo(p)
		decodeStanding(p)
		decodeMissing(p)
		DecodeSnapRow(p)
	})
}

// TestDamage: any byte changed in a row is noticed when the PG is loaded.
func TestDamage(t *testing.T) {
	o := newOne(t)
	o.core.Committed(o.write(), &o.f)
	rows, _, _ := o.m.MetaList(testPG, "", "", 100)
	for _, kv := range rows {
		for i := range kv.Value {
			bad := bytes.Clone(kv.Value)
			bad[i] ^= 0x41
			tx := store.Txn{}
			tx.MetaSet(testPG, wire.KV{Key: kv.Key, Value: bad})
			o.queue(&tx)
			if _, err := Load(o.m, testPG, 0); wire.ErrnoOf(err) != wire.EIO {
				t.Fatalf("%q byte %d: %v", kv.Key, i, err)
			}
		}
		tx := store.Txn{}
		tx.MetaSet(testPG, kv)
		o.queue(&tx)
	}
}
