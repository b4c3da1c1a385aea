package msgr

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// cutter is a connection that breaks after so many bytes, in either
// direction.
type cutter struct {
	net.Conn
	mu   sync.Mutex
	left int
}

func (c *cutter) take(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n = min(n, c.left)
	c.left -= n
	return n
}

func (c *cutter) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if m := c.take(n); m < n {
		c.Conn.Close()
		return m, net.ErrClosed
	}
	return n, err
}

func (c *cutter) Write(p []byte) (int, error) {
	m := c.take(len(p))
	n, err := c.Conn.Write(p[:m])
	if m < len(p) {
		c.Conn.Close()
		return n, net.ErrClosed
	}
	return n, err
}

// node is an OSD that only counts what it gets.
type node struct {
	t    *testing.T
	name string
	id   int64
	net  *TCP
	l    Listener

	mu     sync.Mutex
	got    []uint64
	resets []Conn
	change chan struct{}
	inside func(Conn, uint64)
	sealed bool
}

func newNode(t *testing.T, id int64, o TCPOptions) *node {
	o.Arena = wire.NewArena(true)
	o.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	n := &node{t: t, sealed: id >= 100, name: fmt.Sprint("osd.", id), id: id, net: NewTCP(o), change: make(chan struct{})}
	n.listen()
	t.Cleanup(func() {
		n.net.Close()
		if used := o.Arena.InUse(); used != 0 {
			t.Errorf("%s: %d bytes of received data are not released", n.name, used)
		}
	})
	return n
}

func (n *node) listen() {
	var err error
	if n.l, err = n.net.Listen(wire.EntityName{Type: wire.EntityOSD, Num: n.id}, wire.Addr{}, n, n.auth()); err != nil {
		n.t.Fatal(err)
	}
}

// auth is the node's authentication on both sides; numbers from 100 on
// encrypt.
func (n *node) auth() interface {
	ClientAuth
	ServerAuth
} {
	a := NoAuth{Name: wire.EntityName{Type: wire.EntityOSD, Num: n.id}.AuthName()}
	if n.sealed {
		return sealed{a}
	}
	return a
}

func (n *node) connect(peer *node) Conn {
	c, err := n.net.Connect(wire.EntityName{Type: wire.EntityOSD, Num: n.id}, n.l.Addr(), wire.EntityOSD, peer.l.Addr(), n, n.auth())
	if err != nil {
		n.t.Fatal(err)
	}
	return c
}

func (n *node) changed() {
	close(n.change)
	n.change = make(chan struct{})
}

func (n *node) Dispatch(c Conn, m wire.Message) {
	op := m.(*wire.MOSDOp)
	n.mu.Lock()
	if len(op.Ops) == 1 && op.Ops[0].Data.Len() > 0 && op.Ops[0].Data.Bytes()[0] != byte(op.TID) {
		n.t.Errorf("%s: message %d has others' data", n.name, op.TID)
	}
	n.got = append(n.got, op.TID)
	n.changed()
	f := n.inside
	n.mu.Unlock()
	if f != nil {
		f(c, op.TID)
	}
}

func (n *node) Reset(c Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.resets = append(n.resets, c)
	n.changed()
}

// until waits for cond, which runs under the node's mutex.
func (n *node) until(what string, cond func() bool) {
	n.t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		n.mu.Lock()
		ok, change := cond(), n.change
		n.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-change:
		case <-timeout:
			n.t.Fatalf("%s: no %s", n.name, what)
		}
	}
}

// opMessage has data that say which message they belong to.
func opMessage(tid uint64, size int) wire.Message {
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(tid)
	}
	return &wire.MOSDOp{TID: tid, Object: "o", Snap: wire.NoSnap, Ops: []wire.Op{{Code: wire.OpWriteFull, Data: wire.DataOf(data)}}}
}

// inOrder checks that messages 0 to n-1 came once each, in their order.
func (n *node) inOrder(count int) {
	n.t.Helper()
	n.until(fmt.Sprintf("%d messages", count), func() bool { return len(n.got) >= count })
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, tid := range n.got {
		if tid != uint64(i) {
			n.t.Fatalf("%s: message %d came in place %d of %d", n.name, tid, i, len(n.got))
		}
	}
	if len(n.got) != count {
		n.t.Fatalf("%s: %d messages came, %d were sent", n.name, len(n.got), count)
	}
	if len(n.resets) != 0 {
		n.t.Fatalf("%s: %d resets", n.name, len(n.resets))
	}
}

// TestLosslessCuts breaks connections at random places, in handshakes too,
// while both ends dial and send.
func TestLosslessCuts(t *testing.T) {
	for run := range 6 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(run), func(t *testing.T) {
			t.Parallel()
			t.Logf("seed %#x", seed)
			var mu sync.Mutex
			rng := rand.New(rand.NewPCG(seed, 1))
			cut := func(n *node) {
				inner := n.net.dial
				n.net.dial = func(ctx context.Context, addr string) (net.Conn, error) {
					c, err := inner(ctx, addr)
					mu.Lock()
					defer mu.Unlock()
					budget := rng.IntN(1 << (7 + rng.IntN(14)))
					return &cutter{Conn: c, left: budget}, err
				}
			}
			first := int64(1 + run%3/2*100)
			a, b := newNode(t, first, TCPOptions{}), newNode(t, first+1, TCPOptions{})
			a.net.minRedial, b.net.minRedial = time.Millisecond, 2*time.Millisecond
			a.net.maxRedial, b.net.maxRedial = 20*time.Millisecond, 20*time.Millisecond
			cut(a)
			cut(b)
			const count = 600
			var wg sync.WaitGroup
			for _, p := range [][2]*node{{a, b}, {b, a}} {
				mu.Lock()
				rng := rand.New(rand.NewPCG(rng.Uint64(), 2))
				mu.Unlock()
				wg.Go(func() {
					c := p[0].connect(p[1])
					for i := range uint64(count) {
						if err := c.Send(opMessage(i, rng.IntN(3000))); err != nil {
							t.Errorf("send %d: %v", i, err)
							return
						}
						if rng.IntN(50) == 0 {
							time.Sleep(time.Duration(rng.IntN(10)) * time.Millisecond)
						}
					}
				})
			}
			wg.Wait()
			a.inOrder(count)
			b.inOrder(count)
			t.Logf("reconnects %d and %d, resent %d, duplicates %d", a.net.Metrics.Reconnects.Load(), b.net.Metrics.Reconnects.Load(),
				a.net.Metrics.Resent.Load()+b.net.Metrics.Resent.Load(), a.net.Metrics.Duplicates.Load()+b.net.Metrics.Duplicates.Load())
		})
	}
}
