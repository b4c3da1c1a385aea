package osd

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/osd/store/storetest"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// idleStore remembers xattrs, which the daemon needs, and answers reads from
// one buffer: what is left is the daemon's own cost.
type idleStore struct {
	*storetest.Model
	data wire.Data
	fast atomic.Bool
}

func (s *idleStore) Queue(q *store.Sequencer, t *store.Txn, done func(error)) error {
	if s.fast.Load() {
		done(nil)
		return nil
	}
	return s.Model.Queue(q, t, done)
}

func (s *idleStore) Read(o store.ObjectID, off, n uint64) (wire.Data, error) {
	return s.data.Slice(int(off), int(n)), nil
}

// sink is a connection that counts replies and releases them.
type sink struct {
	msgr.Conn
	replies atomic.Int64
	failed  atomic.Int64
}

func (s *sink) Send(m wire.Message) error {
	if r, ok := m.(*wire.MOSDOpReply); ok {
		s.replies.Add(1)
		if r.Result < 0 {
			s.failed.Add(1)
		}
		r.Release()
	}
	return nil
}

func (s *sink) Peer() wire.EntityName    { return wire.EntityName{Type: wire.EntityClient, Num: 1} }
func (s *sink) PeerAddr() wire.Addr      { return wire.Addr{Type: wire.AddrMsgr2, Nonce: 9} }
func (s *sink) Identity() *msgr.Identity { return &msgr.Identity{Trusted: true} }
func (s *sink) Close()                   {}

func benchDispatch(b *testing.B, size int, op func(i int, data wire.Data) wire.Op) {
	m := storetest.NewModel(storetest.ModelOptions{Inline: true})
	s := &idleStore{Model: m, data: wire.CopyData(make([]byte, size))}
	c := &cluster{t: b, mon: newFakeMon(b, 1), net: msgr.NewLocal(), mods: []ObjectStore{s}, osds: []*OSD{nil}}
	c.start(0)
	c.waitFor("osd up", func() bool { return c.mon.cur().NumUp() == 1 })
	c.pool = c.mon.addPool("p", 1, 8)
	c.waitActive()
	c.cl = c.client(4100)
	const objects = 64
	var msgs [objects]*wire.MOSDOp
	for i := range msgs {
		msgs[i] = c.cl.message(fmt.Sprint("object", i), wire.Op{Code: wire.OpWriteFull, Data: s.data})
		if r := c.cl.do(msgs[i]); r.Result != 0 {
			b.Fatal(r.Result)
		}
	}
	s.fast.Store(true)
	conn := &sink{}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		n := *msgs[i%objects]
		n.TID = uint64(i + 1000)
		n.ReqID.TID = n.TID
		n.Ops = []wire.Op{op(i, s.data)}
		c.osds[0].Dispatch(conn, &n)
	}
	b.StopTimer()
	if conn.replies.Load() != int64(b.N) || conn.failed.Load() != 0 {
		b.Fatalf("%d replies, %d failures, of %d", conn.replies.Load(), conn.failed.Load(), b.N)
	}
}

func BenchmarkWrite4K(b *testing.B) {
	benchDispatch(b, 4096, func(_ int, d wire.Data) wire.Op {
		return wire.Op{Code: wire.OpWrite, Off: 0, Data: d}
	})
}

func BenchmarkRead64K(b *testing.B) {
	benchDispatch(b, 64<<10, func(int, wire.Data) wire.Op { return wire.Op{Code: wire.OpRead} })
}
