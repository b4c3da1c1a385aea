package pg

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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
	tx.MetaSet(testPG, wire.KV{Key: RowInfo, Value: o.core.InfoRow()})
	o.queue(&tx)
	o.core.MapAdvance(1, alone(), &o.f)
	if !o.core.Active() || !o.f.Resume {
		t.Fatal("a PG alone is not active")
	}
	o.f.Reset()
	return o
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
	v, d := o.core.Admit(Ask{Epoch: 1, Write: w})
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
	if a.info != b.info || a.LastUpdate() != b.LastUpdate() || a.Stats() != b.Stats() {
		t.Fatalf("info %+v %+v, head %v %v", a.info, b.info, a.LastUpdate(), b.LastUpdate())
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
	o.core.MapAdvance(2, same, &o.f)
	if o.core.Since() != 1 || len(o.f.Forgot) != 0 {
		t.Fatal("the same interval ended something")
	}
	next := alone()
	next.MinSize, next.Size = 1, 2
	o.core.MapAdvance(3, next, &o.f)
	if o.core.Since() != 3 || len(o.f.Forgot) != 2 || o.core.Alive(run) || !o.core.Active() {
		t.Fatalf("since %d forgot %d", o.core.Since(), len(o.f.Forgot))
	}
	if v, _ := o.core.Admit(Ask{Epoch: 2}); v != Drop {
		t.Fatalf("an old epoch: verdict %d", v)
	}
	// The resend joins the write that is in the log already.
	w := &Write{ReqID: sub.ReqID}
	if v, _ := o.core.Admit(Ask{Epoch: 3, Write: w}); v != Join {
		t.Fatalf("resend: verdict %d", v)
	}
	o.f.Reset()
	o.core.Committed(sub, &o.f)
	if len(o.f.Answer) != 1 || !sub.Forgotten() || len(sub.Joined) != 1 {
		t.Fatal("the resend is not answered")
	}
	if v := o.core.Next(); v != (wire.EVersion{Epoch: 3, Version: 2}) {
		t.Fatalf("next version %v", v)
	}
	gone := Interval{Primary: -1}
	o.core.MapAdvance(4, gone, &o.f)
	if v, _ := o.core.Admit(Ask{Epoch: 4}); v != Drop || o.core.Active() {
		t.Fatalf("no pool: verdict %d", v)
	}
}

func TestMinSize(t *testing.T) {
	o := newOne(t)
	i := alone()
	i.MinSize, i.Size = 2, 3
	o.core.MapAdvance(2, i, &o.f)
	if v, _ := o.core.Admit(Ask{Epoch: 2}); v != Hold || o.core.State() != "undersized" {
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

// sim is three OSDs of one PG and the messages between them, one event at a
// time.
type sim struct {
	t     *testing.T
	rng   *rand.Rand
	nodes []*node
	net   map[[2]int32][]wire.Message // by sender and receiver, in order
	epoch wire.Epoch
	tid   uint64
	acked []*Write
}

type node struct {
	id      int32
	m       *storetest.Model
	core    *Core
	commits []func() // queued transactions, in order
}

func newSim(t *testing.T, seed uint64) *sim {
	s := &sim{t: t, rng: rand.New(rand.NewPCG(seed, 3)), net: map[[2]int32][]wire.Message{}, epoch: 1}
	for i := range int32(3) {
		m := storetest.NewModel(storetest.ModelOptions{Inline: true})
		t.Cleanup(func() { m.Close() })
		n := &node{id: i, m: m, core: New(testPG, i, 1)}
		tx := store.Txn{}
		tx.MetaSet(testPG, wire.KV{Key: RowInfo, Value: n.core.InfoRow()})
		if err := m.Queue(nil, &tx, nil); err != nil {
			t.Fatal(err)
		}
		s.nodes = append(s.nodes, n)
	}
	return s
}

func (s *sim) mapAll(i Interval) {
	for _, n := range s.nodes {
		var f Effects
		n.core.MapAdvance(s.epoch, i, &f)
		s.perform(n, &f)
	}
}

func (s *sim) perform(n *node, f *Effects) {
	for _, p := range f.Send {
		k := [2]int32{n.id, p.OSD}
		s.net[k] = append(s.net[k], p.Msg)
	}
	s.acked = append(s.acked, f.Answer...)
	f.Reset()
}

func (s *sim) queue(n *node, tx *store.Txn, done func(f *Effects)) {
	if err := n.m.Queue(nil, tx, nil); err != nil {
		s.t.Fatal(err)
	}
	n.commits = append(n.commits, func() {
		var f Effects
		done(&f)
		s.perform(n, &f)
	})
}

// write starts a client's write at the primary.
func (s *sim) write() *Write {
	n := s.nodes[0]
	s.tid++
	w := &Write{ReqID: req(s.tid)}
	if v, _ := n.core.Admit(Ask{Epoch: s.epoch, Write: w}); v != Run {
		return nil
	}
	o := wire.HObject{Pool: 3, Name: fmt.Sprint("o", s.rng.IntN(4)), Snap: wire.NoSnap}
	v := n.core.Next()
	w.Entry = Entry{Kind: KindModify, Object: o, Version: v, UserVersion: v.Version, ReqID: w.ReqID}
	tx := &store.Txn{}
	tx.Write(store.ObjectID{HObject: o, Shard: wire.NoShard, Gen: store.NoGen}, 0, wire.DataOf([]byte(fmt.Sprint("v", v.Version))))
	objects := store.Txn{Ops: tx.Ops[:1:1]}
	n.core.Submit(w, tx)
	s.queue(n, tx, func(f *Effects) { n.core.Committed(w, f) })
	var f Effects
	n.core.Queued(w, objects, &f)
	s.perform(n, &f)
	return w
}

// deliver hands over the oldest message of one random link; false if there is
// none.
func (s *sim) deliver() bool {
	var links [][2]int32
	for from := range int32(3) {
		for to := range int32(3) {
			if k := [2]int32{from, to}; len(s.net[k]) > 0 {
				links = append(links, k)
			}
		}
	}
	if len(links) == 0 {
		return false
	}
	k := links[s.rng.IntN(len(links))]
	m := s.net[k][0]
	s.net[k] = s.net[k][1:]
	n := s.nodes[k[1]]
	var f Effects
	switch m := m.(type) {
	case *RepOp:
		tx := &store.Txn{}
		if n.core.HandleRepOp(m, tx) {
			s.queue(n, tx, func(f *Effects) { n.core.ReplicaCommitted(m, f) })
		}
	case *RepAck:
		n.core.HandleRepAck(m, &f)
	case *Query:
		n.core.HandleQuery(m, &f)
	case *Notify:
		n.core.HandleNotify(m, &f)
	}
	s.perform(n, &f)
	return true
}

func (s *sim) commit() bool {
	n := s.nodes[s.rng.IntN(3)]
	if len(n.commits) == 0 {
		return false
	}
	c := n.commits[0]
	n.commits = n.commits[1:]
	c()
	return true
}

func three() Interval {
	return Interval{Up: []int32{0, 1, 2}, Acting: []int32{0, 1, 2}, Primary: 0, MinSize: 2, Size: 3, PGNum: 8, Exists: true}
}

// TestReplicas: a write is answered only when all three have committed it, in
// order; and at the end all hold the same rows and objects.
func TestReplicas(t *testing.T) {
	for seed := range uint64(3) {
		s := newSim(t, seed)
		s.mapAll(three())
		if s.nodes[0].core.Active() {
			t.Fatal("active before the replicas confirmed")
		}
		for s.deliver() {
		}
		if !s.nodes[0].core.Active() {
			t.Fatal("not active after equal logs were confirmed")
		}
		var writes []*Write
		total := 300
		if seed == 0 { // once, so far that logs are trimmed
			total = LogMin + 2*TrimStep
		}
		for len(s.acked) < total {
			switch s.rng.IntN(3) {
			case 0:
				if len(writes) < total {
					writes = append(writes, s.write())
				}
			case 1:
				s.deliver()
			default:
				s.commit()
			}
			for i, w := range s.acked {
				if w != writes[i] {
					t.Fatalf("seed %d: answer %d is out of order", seed, i)
				}
				if i < len(s.acked)-3 {
					continue
				}
				for _, n := range s.nodes {
					if n.core.committed.Less(w.Entry.Version) {
						t.Fatalf("seed %d: osd.%d has committed %v, %v was answered", seed, n.id, n.core.committed, w.Entry.Version)
					}
				}
			}
		}
		for s.deliver() || s.commit() {
		}
		want := dump(t, s.nodes[0].m)
		for _, n := range s.nodes[1:] {
			if d := cmp.Diff(want, dump(t, n.m)); d != "" {
				t.Fatalf("seed %d: osd.%d\n%s", seed, n.id, d)
			}
			compareCores(t, s.nodes[0].core, n.core)
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

// TestReplicasNewInterval: writes under way when a replica goes away are not
// answered to who waited, and are answered to the resend, once; late messages
// of the old interval are ignored.
func TestReplicasNewInterval(t *testing.T) {
	s := newSim(t, 1)
	s.mapAll(three())
	for s.deliver() {
	}
	w := s.write()
	for range 20 {
		s.commit() // here only: the RepOps are still on the way
	}
	if len(s.acked) != 0 {
		t.Fatal("answered without the replicas")
	}
	late := s.net
	s.net = map[[2]int32][]wire.Message{}
	s.epoch = 2
	i := three()
	i.Acting, i.Up, i.MinSize = []int32{0}, []int32{0}, 1
	s.mapAll(i)
	if !w.Forgotten() || !s.nodes[0].core.Active() {
		t.Fatal("the interval did not end the wait")
	}
	d, ok := s.nodes[0].core.log.find(w.ReqID)
	if v, dup := s.nodes[0].core.Admit(Ask{Epoch: 2, Write: &Write{ReqID: w.ReqID}}); v != Answer || !ok || dup.Version != d.version {
		t.Fatalf("the resend: verdict %d", v)
	}
	s.net = late
	for s.deliver() || s.commit() {
	}
	if s.nodes[1].core.LogLen() != 0 {
		t.Fatal("a RepOp of the old interval was taken")
	}
}

// TestUnequalLogs: a primary whose replica holds another log does not serve.
func TestUnequalLogs(t *testing.T) {
	s := newSim(t, 1)
	i := three()
	i.Acting, i.Up, i.MinSize = []int32{0}, []int32{0}, 1
	s.mapAll(i)
	s.write()
	for range 30 {
		s.commit()
	}
	s.epoch = 2
	s.mapAll(three())
	for s.deliver() {
	}
	if s.nodes[0].core.Active() {
		t.Fatal("active over unequal logs")
	}
	if v, _ := s.nodes[0].core.Admit(Ask{Epoch: 2}); v != Hold {
		t.Fatalf("verdict %d", v)
	}
}

func FuzzDecode(f *testing.F) {
	e := Entry{Kind: KindModify, Object: wire.HObject{Pool: 3, Name: "o", Snap: wire.NoSnap}, Version: wire.EVersion{Epoch: 2, Version: 3},
		ReqID: req(4), Result: -2, Rvals: []int32{1, -2}, Stats: Stats{1, 2, 3},
		Replies: []wire.OpResult{{Value: []byte("v"), KVs: []wire.KV{{Key: "k", Value: []byte("w")}}, Keys: []string{"x"}, Data: wire.DataOf([]byte("d"))}}}
	i := Info{Created: 3, LogTail: e.Version}
	f.Add(e.Encode())
	f.Add(i.Encode())
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
		DecodeInfo(p)
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
