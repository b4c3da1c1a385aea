package nfs

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"sync"

	nfs "github.com/willscott/go-nfs"

	"github.com/spirula/spirula/rados/wire"
)

// dupEntries is how many replies are kept.
const dupEntries = 4096

// dupKey says which request a reply was for. The client's port is left out: a
// client that reconnects retransmits from another one.
type dupKey struct {
	client    netip.Addr
	xid, proc uint32
	sum       uint32
}

// dupEntry is a request that ran, or runs until done is closed.
type dupEntry struct {
	done chan struct{}
	head []byte
}

// dupCache keeps the replies to requests that must not run twice, oldest out
// first.
type dupCache struct {
	mu      sync.Mutex
	entries map[dupKey]*dupEntry
	ring    [dupEntries]dupKey
	next    int
}

func (d *dupCache) init() { d.entries = map[dupKey]*dupEntry{} }

// forget takes an entry out, so that the same request runs when it comes
// again.
func (d *dupCache) forget(k dupKey, e *dupEntry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.entries[k] == e {
		delete(d.entries, k)
	}
}

// tryAgain tells whether a finished reply says that nothing was done yet.
func tryAgain(head []byte) bool {
	const at = 28 // mark, xid, REPLY, accepted, verifier, accept status
	return len(head) >= at+4 && binary.BigEndian.Uint32(head[at-4:]) == acceptSuccess &&
		binary.BigEndian.Uint32(head[at:]) == uint32(nfs.NFSStatusJukebox)
}

// run runs a request unless it ran already; then its reply is given again.
func (d *dupCache) run(ctx context.Context, g *Gateway, client net.Addr, c *call, rec *record, f func() (reply, bool)) (reply, bool) {
	k := dupKey{xid: c.xid, proc: c.proc, sum: wire.CRC32C(rec.head)}
	if a, err := netip.ParseAddrPort(client.String()); err == nil {
		k.client = a.Addr()
	}
	d.mu.Lock()
	e := d.entries[k]
	if e == nil {
		e = &dupEntry{done: make(chan struct{})}
		old := d.ring[d.next]
		delete(d.entries, old)
		d.ring[d.next] = k
		d.next = (d.next + 1) % dupEntries
		d.entries[k] = e
		d.mu.Unlock()
		r, ok := f()
		e.head = r.head
		close(e.done)
		if tryAgain(r.head) {
			d.forget(k, e)
		}
		return r, ok
	}
	d.mu.Unlock()
	g.Metrics.Duplicates.Add(1)
	select {
	case <-e.done:
		return reply{head: e.head}, true
	case <-ctx.Done():
		return reply{}, false
	}
}
