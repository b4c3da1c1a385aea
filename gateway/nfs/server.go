package nfs

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	nfs "github.com/willscott/go-nfs"

	"github.com/spirula/spirula/rados/wire"
)

// The bounds.
const (
	maxIO       = 1 << 20            // bytes of one READ or WRITE
	maxRecord   = maxIO + (64 << 10) // bytes of one request
	headSize    = 1024               // of a record that are read before it is looked at
	maxRequests = 64                 // of one connection at a time
	maxConns    = 1024
	drainTime   = 10 * time.Second // for running requests, once Serve is to end
	// A client may be silent between requests for as long as it likes, but
	// not within one, and it must take its replies: both hold memory.
	recordTime = time.Minute
	replyTime  = 2 * time.Minute
)

// Options say how a Gateway works. FS is required.
type Options struct {
	FS FS
	// FSID is the file system's id as clients see it. It is part of every
	// handle, so it must stay the same for the life of the store.
	FSID uint64
	// RootSquash makes uid 0 of clients nobody.
	RootSquash bool
	// MaxInflightBytes bounds the data of WRITEs that were read from
	// sockets and are not done; 0: 32 MiB.
	MaxInflightBytes int64
	// MaxReadBytes bounds the data of READs that is read and not sent yet;
	// 0: 32 MiB.
	MaxReadBytes int64
	Log          *slog.Logger
}

// Metrics counts what a gateway did since it was made.
type Metrics struct {
	Requests, Errors      atomic.Int64
	ReadBytes, WriteBytes atomic.Int64
	Duplicates            atomic.Int64 // answered from the reply cache
	Connections           atomic.Int64 // open now
}

// Gateway serves MOUNT and NFS.
type Gateway struct {
	Metrics Metrics

	o     Options
	bytes throttle // of WRITEs
	reads throttle // of READs
	dups  dupCache
	mnts  mounts

	mu    sync.Mutex
	conns map[*conn]struct{}
}

// New makes a gateway; Serve runs it.
func New(o Options) *Gateway {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MaxInflightBytes == 0 {
		o.MaxInflightBytes = 32 << 20
	}
	g := &Gateway{o: o, conns: map[*conn]struct{}{}}
	if o.MaxReadBytes == 0 {
		o.MaxReadBytes = 32 << 20
	}
	g.bytes.init(o.MaxInflightBytes)
	g.reads.init(o.MaxReadBytes)
	g.dups.init()
	return g
}

// Serve answers on l until ctx ends; then it takes no more requests, waits up
// to 10 seconds for those that run, and closes everything. The error is nil
// after an orderly end.
func (g *Gateway) Serve(ctx context.Context, l net.Listener) error {
	var wg sync.WaitGroup
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	// Requests outlive ctx by the time they are given to finish.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		g.drain()
		late := time.AfterFunc(drainTime, cancel)
		wg.Wait()
		late.Stop()
		cancel()
	}()
	for {
		nc, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				nc.Close()
			}
			break
		}
		if err != nil {
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() || errors.Is(err, io.ErrUnexpectedEOF) {
				continue
			}
			if isTemporary(err) {
				time.Sleep(50 * time.Millisecond) // out of file descriptors, most likely
				continue
			}
			return err
		}
		c := &conn{g: g, nc: nc, out: make(chan reply, maxRequests), slots: make(chan struct{}, maxRequests)}
		if !g.add(c) {
			nc.Close()
			continue
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer g.remove(c)
			c.serve(work)
		}()
	}
	return nil
}

func isTemporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

func (g *Gateway) add(c *conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.conns) >= maxConns {
		return false
	}
	g.conns[c] = struct{}{}
	g.Metrics.Connections.Add(1)
	return true
}

func (g *Gateway) remove(c *conn) {
	g.mu.Lock()
	delete(g.conns, c)
	g.mu.Unlock()
	g.Metrics.Connections.Add(-1)
}

// drain ends reading on every connection; each ends when its requests are
// answered, or is cut after drainTime.
func (g *Gateway) drain() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.conns {
		c.endReading()
		time.AfterFunc(drainTime, func() { c.nc.Close() })
	}
}

// conn is one client's connection.
type conn struct {
	g     *Gateway
	nc    net.Conn
	out   chan reply
	slots chan struct{} // one for each request that runs

	mu    sync.Mutex
	ended bool // no more is read
}

// endReading makes the reader stop, now or at its next read.
func (c *conn) endReading() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.nc.SetReadDeadline(time.Unix(1, 0))
}

// readBy sets until when what is read must have come; zero: no limit.
func (c *conn) readBy(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.nc.SetReadDeadline(t)
	}
}

// reply is a record to send: head with its mark, data, padding.
type reply struct {
	head []byte
	data wire.Data
}

// serve reads requests until the connection or the server ends, then waits
// for those that run.
func (c *conn) serve(ctx context.Context) {
	written := make(chan struct{})
	go func() {
		defer close(written)
		c.write()
	}()
	var wg sync.WaitGroup
	br := bufio.NewReaderSize(c.nc, 4<<10)
	for {
		rec, err := c.readRecord(br)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				c.g.o.Log.Debug("connection ended", "client", c.nc.RemoteAddr(), "err", err)
			}
			break
		}
		c.slots <- struct{}{}
		wg.Add(1)
		go func() {
			defer func() { <-c.slots; wg.Done() }()
			if r, ok := c.g.answer(ctx, c.nc.RemoteAddr(), &rec); ok {
				c.out <- r
			}
			rec.release(c.g)
		}()
	}
	wg.Wait()
	close(c.out)
	<-written
	c.nc.Close()
}

// zeros pads data to a multiple of four.
var zeros [4]byte

// write sends replies, those that are ready together in one system call. A
// failure closes the connection; later replies are dropped.
func (c *conn) write() {
	const batch = 16
	var bufs net.Buffers
	var sent []reply
	broken := false
	for r := range c.out {
		sent, bufs = append(sent[:0], r), appendBuffers(bufs[:0], r)
		for more := true; more && len(sent) < batch; {
			select {
			case r, open := <-c.out:
				if more = open; open {
					sent, bufs = append(sent, r), appendBuffers(bufs, r)
				}
			default:
				more = false
			}
		}
		if !broken {
			c.nc.SetWriteDeadline(time.Now().Add(replyTime))
			w := bufs
			if _, err := w.WriteTo(c.nc); err != nil {
				broken = true
				c.nc.Close()
			}
		}
		for i := range sent {
			n := int64(sent[i].data.Len())
			sent[i].data.Release()
			c.g.reads.release(n)
		}
		clear(bufs)
	}
}

func appendBuffers(bufs net.Buffers, r reply) net.Buffers {
	bufs = append(bufs, r.head)
	for i := range r.data.NumSegs() {
		bufs = append(bufs, r.data.Seg(i).Bytes())
	}
	if pad := -r.data.Len() & 3; pad > 0 {
		bufs = append(bufs, zeros[:pad])
	}
	return bufs
}

// record is a request as read: head is all of it, but for a WRITE's data
// when that is apart.
type record struct {
	head  []byte
	data  wire.Data
	apart bool
	bytes int64 // taken from the throttle
}

func (r *record) release(g *Gateway) {
	r.data.Release()
	r.data = wire.Data{}
	g.bytes.release(r.bytes)
	r.bytes = 0
}

// readRecord reads one request. Memory is taken as bytes come, never for
// what a length merely announces.
func (c *conn) readRecord(br *bufio.Reader) (rec record, err error) {
	n, last, err := readMark(br)
	if err != nil {
		return rec, err
	}
	if n > maxRecord {
		return rec, fmt.Errorf("a fragment of %d bytes is over the limit of %d", n, maxRecord)
	}
	rec.head = make([]byte, min(n, headSize))
	if _, err := io.ReadFull(br, rec.head); err != nil {
		return rec, err
	}
	if n <= headSize && last {
		return rec, nil
	}
	if rec.bytes = int64(n); !last {
		rec.bytes = maxRecord // what it may come to
	}
	c.g.bytes.take(rec.bytes)
	c.readBy(time.Now().Add(recordTime))
	defer c.readBy(time.Time{})
	if last {
		if at, size, ok := writeData(rec.head, n); ok {
			err = rec.readData(br, at, size)
		} else {
			err = rec.readMore(br, n-len(rec.head))
		}
	} else {
		err = rec.readFragments(br, n)
	}
	if err != nil {
		rec.release(c.g)
	}
	return rec, err
}

func readMark(br *bufio.Reader) (n int, last bool, err error) {
	var b [4]byte
	if _, err := io.ReadFull(br, b[:]); err != nil {
		return 0, false, err
	}
	v := binary.BigEndian.Uint32(b[:])
	return int(v &^ (1 << 31)), v>>31 == 1, nil
}

// readMore appends n bytes to head, in steps that each have arrived.
func (r *record) readMore(br *bufio.Reader, n int) error {
	for n > 0 {
		step := min(n, 64<<10)
		at := len(r.head)
		r.head = append(r.head, make([]byte, step)...)
		if _, err := io.ReadFull(br, r.head[at:]); err != nil {
			return err
		}
		n -= step
	}
	return nil
}

// readFragments reads the rest of a record of several fragments, of which the
// first has n bytes.
func (r *record) readFragments(br *bufio.Reader, n int) error {
	if err := r.readMore(br, n-len(r.head)); err != nil {
		return err
	}
	for last := false; !last; {
		var err error
		if n, last, err = readMark(br); err != nil {
			return err
		}
		if len(r.head)+n > maxRecord || (n == 0 && !last) {
			return errors.New("a record over the limit, or of empty fragments")
		}
		if err := r.readMore(br, n); err != nil {
			return err
		}
	}
	return nil
}

// writeData tells where the data of a WRITE begins, when head is the
// beginning of one in a record of n bytes.
func writeData(head []byte, n int) (at, size int, ok bool) {
	r := reader{b: head}
	r.u32() // xid
	if r.u32() != msgCall || r.u32() != rpcVers || r.u32() != progNFS || r.u32() != 3 || r.u32() != uint32(nfs.NFSProcedureWrite) {
		return 0, 0, false
	}
	for range 2 { // credential and verifier
		r.u32()
		r.opaque(maxAuth)
	}
	r.opaque(64) // handle
	r.u64()      // offset
	r.u32()      // count
	r.u32()      // stable
	count := r.u32()
	at = len(head) - len(r.b)
	size = int(count)
	return at, size, r.ok() && count <= maxIO && at+(size+3)&^3 == n
}

// readData reads a WRITE's data into buffers, from byte at of the record.
func (r *record) readData(br *bufio.Reader, at, size int) error {
	have := r.head[at:]
	pad := -size & 3
	r.head, r.apart = r.head[:at], true
	for size > 0 {
		buf := wire.NewBuf(min(size, wire.MaxBuf))
		b := buf.Bytes()[:min(size, buf.Cap())]
		n := copy(b, have)
		have = have[n:]
		if _, err := io.ReadFull(br, b[n:]); err != nil {
			buf.Release()
			return err
		}
		r.data.Append(buf, 0, len(b))
		size -= len(b)
	}
	_, err := br.Discard(max(pad-len(have), 0))
	return err
}

// answer runs one request. ok is false when nothing is to be sent.
func (g *Gateway) answer(ctx context.Context, client net.Addr, rec *record) (out reply, ok bool) {
	g.Metrics.Requests.Add(1)
	c, refusal, ok := parseCall(rec.head, g.o.RootSquash)
	if !ok {
		return out, false
	}
	if refusal != nil {
		return reply{head: finish(refusal, 0)}, true
	}
	defer func() {
		if p := recover(); p != nil {
			// A broken invariant of ours: the daemon must not go on with it.
			panic(fmt.Sprintf("nfs: program %d procedure %d of %s: %v\n%s", c.prog, c.proc, client, p, debug.Stack()))
		}
	}()
	p, refusal := procedure(c)
	if refusal != nil {
		return reply{head: finish(refusal, 0)}, true
	}
	run := func() (reply, bool) {
		head, data := p.run(g, ctx, c, rec, accepted(c.xid, acceptSuccess))
		if head == nil {
			data.Release()
			return reply{head: finish(accepted(c.xid, acceptGarbageArgs), 0)}, true
		}
		return reply{finish(head, (data.Len()+3)&^3), data}, true
	}
	if !p.once {
		return run()
	}
	return g.dups.run(ctx, g, client, c, rec, run)
}

// proc is one procedure. run appends its reply to out; a nil result means
// that the arguments could not be read. once marks those that a
// retransmission must not run again.
type proc struct {
	run  func(g *Gateway, ctx context.Context, c *call, rec *record, out []byte) ([]byte, wire.Data)
	once bool
}

// procedure finds what a call asks for, or the refusal.
func procedure(c *call) (*proc, []byte) {
	var table []proc
	switch c.prog {
	case progNFS:
		table = nfsProcs
	case progMount:
		table = mountProcs
	default:
		return nil, accepted(c.xid, acceptProgUnavail)
	}
	if c.vers != 3 {
		return nil, mismatch(c.xid)
	}
	if c.proc >= uint32(len(table)) || table[c.proc].run == nil {
		return nil, accepted(c.xid, acceptProcUnavail)
	}
	return &table[c.proc], nil
}
