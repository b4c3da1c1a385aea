package nfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spirula/spirula/mds"
	"github.com/spirula/spirula/rados/wire"
)

func TestRefusals(t *testing.T) {
	g, _ := stubGateway()
	authNoneCall := func(flavor uint32, body string) args {
		return args{}.u32(9, 0, 2, progNFS, 3, 0, flavor).bytes(body).u32(0, 0)
	}
	for name, c := range map[string]struct {
		call args
		want args
	}{
		"a program that is not here": {header(9, 100021, 4, 0, 0, 0), args{}.u32(9, 1, 0, 0, 0, 1)},
		"NFS version 4":              {header(9, progNFS, 4, 0, 0, 0), args{}.u32(9, 1, 0, 0, 0, 2, 3, 3)},
		"NFS version 2":              {header(9, progNFS, 2, 0, 0, 0), args{}.u32(9, 1, 0, 0, 0, 2, 3, 3)},
		"MOUNT version 1":            {header(9, progMount, 1, 0, 0, 0), args{}.u32(9, 1, 0, 0, 0, 2, 3, 3)},
		"procedure 22":               {header(9, progNFS, 3, 22, 0, 0), args{}.u32(9, 1, 0, 0, 0, 3)},
		"MOUNT procedure 6":          {header(9, progMount, 3, 6, 0, 0), args{}.u32(9, 1, 0, 0, 0, 3)},
		"RPC version 3":              {args{}.u32(9, 0, 3, progNFS, 3, 0, 0, 0, 0, 0), args{}.u32(9, 1, 1, 0, 2, 2)},
		"no credential":              {authNoneCall(0, ""), args{}.u32(9, 1, 0, 0, 0, 0)},
		"RPCSEC_GSS":                 {authNoneCall(6, "token"), args{}.u32(9, 1, 1, 1, 5)},
		"a credential of 17 groups":  {header(9, progNFS, 3, 0, 0, 0, make([]uint32, 17)...), args{}.u32(9, 1, 1, 1, 1)},
		"a credential cut short":     {authNoneCall(1, "\x00\x00\x00\x01"), args{}.u32(9, 1, 1, 1, 1)},
		"a reply":                    {args{}.u32(9, 1, 0, 0, 0, 0), nil},
		"a header cut short":         {args{}.u32(9, 0, 2, progNFS), nil},
		"a verifier over its limit":  {args{}.u32(9, 0, 2, progNFS, 3, 0, 0, 0, 0).bytes(strings.Repeat("v", 404)), nil},
		"nothing":                    {nil, nil},
	} {
		if got := direct(g, c.call); !bytes.Equal(got, c.want) {
			t.Errorf("%s: %x, want %x", name, got, []byte(c.want))
		}
	}
}

func TestRootSquash(t *testing.T) {
	for _, c := range []struct {
		uid, gid uint32
		gids     []uint32
		want     string
	}{
		{0, 0, []uint32{0, 4}, "{65534 65534 [] false}"},
		{1000, 0, []uint32{0, 4}, "{1000 65534 [65534 4] false}"},
		{1000, 1000, nil, "{1000 1000 [] false}"},
	} {
		s := &stub{}
		g := New(Options{FS: s, FSID: testFSID, RootSquash: true})
		direct(g, append(header(1, progNFS, 3, 12, c.uid, c.gid, c.gids...), args{}.bytes(fh(1, 1)).bytes("n")...))
		if got := fmt.Sprint(s.creds[0]); got != c.want {
			t.Errorf("%d:%d %v is %s, want %s", c.uid, c.gid, c.gids, got, c.want)
		}
	}
}

func TestNobodyWithoutCredential(t *testing.T) {
	g, s := stubGateway()
	direct(g, args{}.u32(9, 0, 2, progNFS, 3, 12, 0, 0, 0, 0).bytes(fh(1, 1)).bytes("n"))
	if s.creds[0].UID != nobody || s.creds[0].GID != nobody {
		t.Errorf("called as %+v", s.creds[0])
	}
}

// TestRequestsRunInParallel: a request that takes long holds up no other one
// of its connection, and replies come as they are ready.
func TestRequestsRunInParallel(t *testing.T) {
	w := newWorld(t, Options{})
	slow := make(chan struct{})
	w.fs.hook = func(_ context.Context, name string) error {
		if name == "commit" {
			<-slow
		}
		return nil
	}
	c := w.dial()
	send(t, c, append(header(1, progNFS, 3, 21, 0, 0), args{}.bytes(fh(1, 1)).u64(0).u32(0)...))
	for xid := uint32(2); xid < 30; xid++ {
		send(t, c, append(header(xid, progNFS, 3, 1, 0, 0), args{}.bytes(fh(1, 1))...))
	}
	seen := map[uint32]bool{}
	for range 28 {
		seen[binary.BigEndian.Uint32(recv(t, c))] = true
	}
	if seen[1] || len(seen) != 28 {
		t.Errorf("before the slow one: %v", seen)
	}
	close(slow)
	if xid := binary.BigEndian.Uint32(recv(t, c)); xid != 1 {
		t.Errorf("at the end xid %d", xid)
	}
}

// TestRequestsAreBounded: a client that sends without end has maxRequests
// running, and the rest waits in its socket.
func TestRequestsAreBounded(t *testing.T) {
	w := newWorld(t, Options{})
	var mu sync.Mutex
	running, most := 0, 0
	gate := make(chan struct{})
	w.fs.hook = func(context.Context, string) error {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		<-gate
		mu.Lock()
		running--
		mu.Unlock()
		return nil
	}
	c := w.dial()
	const n = 4 * maxRequests
	var all []byte
	for xid := range uint32(n) {
		all = append(all, mark(append(header(xid, progNFS, 3, 1, 0, 0), args{}.bytes(fh(1, 1))...))...)
	}
	go c.Write(all)
	for range 200 {
		mu.Lock()
		r := running
		mu.Unlock()
		if r == maxRequests {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond)
	close(gate)
	for range n {
		recv(t, c)
	}
	mu.Lock()
	defer mu.Unlock()
	if most != maxRequests {
		t.Errorf("%d requests ran at a time, want %d", most, maxRequests)
	}
}

// TestFragments: a record in any number of fragments is one request; data of
// a WRITE too, at every way that it can be cut.
func TestFragments(t *testing.T) {
	w := newWorld(t, Options{})
	data := strings.Repeat("0123456789abcdef", 300)
	call := append(header(3, progNFS, 3, 7, 0, 0), args{}.bytes(fh(1, 1)).u64(0).u32(uint32(len(data)), 2).bytes(data)...)
	c := w.dial()
	for _, cuts := range [][]int{{}, {4}, {0, 40}, {100, 101, 102}, {1024}, {1023, 1025}, {len(call) - 1}, {len(call)}} {
		w.fs.mu.Lock()
		w.fs.content = nil
		w.fs.mu.Unlock()
		at := 0
		for _, cut := range append(cuts, len(call)) {
			m := uint32(cut - at)
			if cut == len(call) && at != len(call) || at == len(call) {
				m |= 1 << 31
			}
			c.Write(binary.BigEndian.AppendUint32(nil, m))
			c.Write(call[at:cut])
			at = cut
			if m>>31 == 1 {
				break
			}
		}
		if got := recv(t, c); binary.BigEndian.Uint32(got[24:]) != 0 {
			t.Errorf("cuts %v: %x", cuts, got)
		}
		w.fs.mu.Lock()
		if string(w.fs.content) != data {
			t.Errorf("cuts %v: %d bytes were written", cuts, len(w.fs.content))
		}
		w.fs.mu.Unlock()
	}
}

// TestRecordLimits: a record over the limit ends the connection before memory
// is taken for it.
func TestRecordLimits(t *testing.T) {
	w := newWorld(t, Options{})
	for name, b := range map[string][]byte{
		"a fragment over the limit": binary.BigEndian.AppendUint32(nil, 1<<31|(maxRecord+1)),
		"fragments over the limit":  append(append(binary.BigEndian.AppendUint32(nil, 4), 1, 2, 3, 4), binary.BigEndian.AppendUint32(nil, maxRecord)...),
		"empty fragments":           make([]byte, 8),
	} {
		c := w.dial()
		c.Write(b)
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !isReset(err) {
			t.Errorf("%s: %v, want the end of the connection", name, err)
		}
	}
}

func isReset(err error) bool { return err != nil && strings.Contains(err.Error(), "reset") }

// TestWriteOfEverySize: data arrives whole around the borders of head, blocks
// and padding, and comes back by READ.
func TestWriteOfEverySize(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.dial()
	for _, n := range []int{0, 1, 3, 4, 5, 700, 800, 801, 802, 803, 900, 1024, 4095, 4096, 4097, 1<<20 - 1, 1 << 20} {
		w.fs.mu.Lock()
		w.fs.content = nil
		w.fs.mu.Unlock()
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(i*7 + i>>8)
		}
		send(t, c, append(header(uint32(n), progNFS, 3, 7, 0, 0), args{}.bytes(fh(1, 1)).u64(0).u32(uint32(n), 0).bytes(string(data))...))
		if got := recv(t, c); binary.BigEndian.Uint32(got[24:]) != 0 {
			t.Fatalf("write of %d: %x", n, got[:40])
		}
		send(t, c, append(header(1, progNFS, 3, 6, 0, 0), args{}.bytes(fh(1, 1)).u64(0).u32(uint32(n)+1)...))
		got := recv(t, c)
		at := 24 + 4 + 4 + attrSize
		if count := binary.BigEndian.Uint32(got[at:]); n < 1<<20 && (int(count) != n || !bytes.Equal(got[at+12:at+12+n], data)) {
			t.Errorf("read of %d: count %d, equal %v", n, count, bytes.Equal(got[at+12:at+12+n], data))
		}
		if len(got)%4 != 0 {
			t.Errorf("a reply of %d bytes is not padded", len(got))
		}
	}
}

// TestReadOfADirectory: READ's list of errors (RFC 1813, 3.3.6) has INVAL for
// what is no file.
func TestReadOfADirectory(t *testing.T) {
	g, s := stubGateway()
	s.hook = func(_ context.Context, name string) error {
		if name == "read" {
			return wire.EISDIR
		}
		return nil
	}
	got := direct(g, append(header(1, progNFS, 3, 6, 0, 0), args{}.bytes(fh(1, 1)).u64(0).u32(10)...))
	if status := binary.BigEndian.Uint32(got[24:]); status != 22 {
		t.Errorf("status %d, want INVAL", status)
	}
}

func TestCountAgainstData(t *testing.T) {
	g, s := stubGateway()
	got := direct(g, append(header(1, progNFS, 3, 7, 0, 0), args{}.bytes(fh(1, 1)).u64(0).u32(5, 0).bytes("abc")...))
	if binary.BigEndian.Uint32(got[24:]) != 22 || s.count("write") != 0 {
		t.Errorf("count 5 with 3 bytes: %x", got)
	}
}

// TestVerifiers: data that is lost while a WRITE or COMMIT runs must show as
// a difference between their verifiers.
func TestVerifiers(t *testing.T) {
	g, s := stubGateway()
	lose := func(_ context.Context, name string) error {
		if name == "write" || name == "commit" {
			s.mu.Lock()
			s.verf[0]++
			s.mu.Unlock()
		}
		return nil
	}
	write := append(header(1, progNFS, 3, 7, 0, 0), args{}.bytes(fh(1, 1)).u64(0).u32(3, 0).bytes("abc")...)
	commit := append(header(2, progNFS, 3, 21, 0, 0), args{}.bytes(fh(1, 1)).u64(0).u32(0)...)
	end := func(b []byte) string { return string(b[len(b)-8:]) }
	if end(direct(g, write)) != end(direct(g, commit)) {
		t.Error("verifiers differ though nothing was lost")
	}
	s.hook = lose
	during := end(direct(g, write))
	s.hook = nil
	if during == end(direct(g, commit)) {
		t.Error("lost during WRITE: COMMIT has the same verifier")
	}
	before := end(direct(g, write))
	s.hook = lose
	if before == end(direct(g, commit)) {
		t.Error("lost during COMMIT: it has the verifier of before")
	}
}

// TestRepeatedRequests: what must not run twice is answered from memory, also
// on another connection, and while the first still runs.
func TestRepeatedRequests(t *testing.T) {
	w := newWorld(t, Options{})
	gate := make(chan struct{})
	w.fs.hook = func(_ context.Context, name string) error {
		if name == "remove" {
			<-gate
		}
		return nil
	}
	call := append(header(44, progNFS, 3, 12, 0, 0), args{}.bytes(fh(1, 1)).bytes("n")...)
	a, b := w.dial(), w.dial()
	send(t, a, call)
	for w.fs.count("remove") == 0 {
		time.Sleep(time.Millisecond)
	}
	send(t, b, call)
	time.Sleep(20 * time.Millisecond)
	close(gate)
	first, second := recv(t, a), recv(t, b)
	send(t, b, call)
	third := recv(t, b)
	if !bytes.Equal(first, second) || !bytes.Equal(first, third) || w.fs.count("remove") != 1 {
		t.Errorf("it ran %d times", w.fs.count("remove"))
	}
	if n := w.g.Metrics.Duplicates.Load(); n != 2 {
		t.Errorf("%d duplicates were counted", n)
	}
	// Another xid, other arguments or another user are other requests.
	for _, other := range [][]byte{
		append(header(45, progNFS, 3, 12, 0, 0), args{}.bytes(fh(1, 1)).bytes("n")...),
		append(header(44, progNFS, 3, 12, 0, 0), args{}.bytes(fh(1, 1)).bytes("m")...),
		append(header(44, progNFS, 3, 12, 5, 0), args{}.bytes(fh(1, 1)).bytes("n")...),
	} {
		send(t, a, other)
		recv(t, a)
	}
	if n := w.fs.count("remove"); n != 4 {
		t.Errorf("it ran %d times, want 4", n)
	}
}

// TestTryAgainIsNotKept: JUKEBOX means that nothing was done, so the same
// request runs when it comes again.
func TestTryAgainIsNotKept(t *testing.T) {
	g, s := stubGateway()
	call := append(header(1, progNFS, 3, 12, 0, 0), args{}.bytes(fh(1, 1)).bytes("n")...)
	s.hook = func(_ context.Context, name string) error {
		if name == "remove" {
			return wire.EAGAIN
		}
		return nil
	}
	if got := direct(g, call); binary.BigEndian.Uint32(got[24:]) != 10008 {
		t.Fatalf("EAGAIN: %x", got)
	}
	s.hook = nil
	if got := direct(g, call); binary.BigEndian.Uint32(got[24:]) != 0 || s.count("remove") != 2 {
		t.Errorf("the second time: %x, it ran %d times", got, s.count("remove"))
	}
}

func TestRepliesAreForgottenInOrder(t *testing.T) {
	g, s := stubGateway()
	call := func(xid uint32) []byte {
		return append(header(xid, progNFS, 3, 12, 0, 0), args{}.bytes(fh(1, 1)).bytes("n")...)
	}
	for xid := range uint32(dupEntries + 1) {
		direct(g, call(xid))
	}
	if len(g.dups.entries) != dupEntries {
		t.Errorf("%d replies are kept, want %d", len(g.dups.entries), dupEntries)
	}
	direct(g, call(1)) // still there
	direct(g, call(0)) // not any more
	if n := s.count("remove"); n != dupEntries+2 {
		t.Errorf("it ran %d times, want %d", n, dupEntries+2)
	}
}

// TestReadDirBounds: the bytes of a reply are never over count, and nothing
// that has room is left out.
func TestReadDirBounds(t *testing.T) {
	g, s := stubGateway()
	s.entries = nil
	for i := range 200 {
		s.entries = append(s.entries, mds.DirEntry{Name: strings.Repeat("n", 1+i%40), Ino: mds.Ino(i + 1), Cookie: uint64(i + 1), Attr: stubAttr, HasAttr: i%3 > 0})
	}
	for _, proc := range []uint32{16, 17} {
		for count := uint32(0); count < 6000; count += 4 {
			a := args{}.bytes(fh(1, 1)).u64(0).u64(0)
			if proc == 17 {
				a = a.u32(1 << 16)
			}
			got := direct(g, append(header(1, progNFS, 3, proc, 0, 0), a.u32(count)...))
			status, result := binary.BigEndian.Uint32(got[24:]), len(got)-28
			if status == 10005 {
				if count > 104+60+140 {
					t.Fatalf("procedure %d: %d bytes are too small", proc, count)
				}
				continue
			}
			if status != 0 || result > int(count) {
				t.Fatalf("procedure %d, count %d: status %d, %d bytes", proc, count, status, result)
			}
			if eof := binary.BigEndian.Uint32(got[len(got)-4:]); eof == 0 && result+24+40+8+attrSize+44 < int(count) {
				t.Fatalf("procedure %d, count %d: only %d bytes, and not the end", proc, count, result)
			}
		}
	}
	// A dircount of 0 is bad advice, not an error.
	got := direct(g, append(header(1, progNFS, 3, 17, 0, 0), args{}.bytes(fh(1, 1)).u64(0).u64(0).u32(0, 4096)...))
	if binary.BigEndian.Uint32(got[24:]) != 0 || binary.BigEndian.Uint32(got[28+4+attrSize+8:]) != 1 {
		t.Errorf("dircount 0: %x", got[:60])
	}
	s.err = wire.EINVAL
	got = direct(g, append(header(1, progNFS, 3, 16, 0, 0), args{}.bytes(fh(1, 1)).u64(99).u64(0).u32(4096)...))
	if binary.BigEndian.Uint32(got[24:]) != 10003 {
		t.Errorf("a cookie of no entry: %x", got[:32])
	}
}

// TestStopLetsRequestsFinish: what runs when Serve is to end is answered, its
// context alive; what comes later is not taken.
func TestStopLetsRequestsFinish(t *testing.T) {
	w := newWorld(t, Options{})
	running, finish := make(chan struct{}), make(chan struct{})
	w.fs.hook = func(ctx context.Context, name string) error {
		if name == "commit" {
			close(running)
			<-finish
			return ctx.Err()
		}
		return nil
	}
	c, idle := w.dial(), w.dial()
	send(t, c, append(header(1, progNFS, 3, 21, 0, 0), args{}.bytes(fh(1, 1)).u64(0).u32(0)...))
	<-running
	stopped := make(chan error)
	go func() { stopped <- w.stop() }()
	if _, err := idle.Read(make([]byte, 1)); err == nil {
		t.Error("an idle connection was not closed")
	}
	close(finish)
	if got := recv(t, c); binary.BigEndian.Uint32(got[24:]) != 0 {
		t.Errorf("the running request: %x", got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", w.addr); err == nil {
		t.Error("it listens on")
	}
}

// TestServeEndsOnListenerError: a broken listener ends Serve with its error,
// and nothing is left running.
func TestServeEndsOnListenerError(t *testing.T) {
	g, _ := stubGateway()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- g.Serve(context.Background(), l) }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	send(t, c, header(1, progNFS, 3, 0, 0, 0))
	recv(t, c)
	l.Close()
	select {
	case err := <-done:
		if err == nil {
			t.Error("no error")
		}
	case <-time.After(5 * time.Second):
		t.Fatal("Serve hangs while a connection is open")
	}
	if n := g.Metrics.Connections.Load(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

// TestMemoryComesBack: after requests of all kinds, refused ones and broken
// connections the budgets are whole.
func TestMemoryComesBack(t *testing.T) {
	w := newWorld(t, Options{MaxInflightBytes: 4 << 20, MaxReadBytes: 4 << 20})
	w.fs.content = bytes.Repeat([]byte("x"), 3<<20)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c := w.dial()
			data := strings.Repeat("y", 1<<20)
			for i := range uint32(6) {
				send(t, c, append(header(i, progNFS, 3, 7, 0, 0), args{}.bytes(fh(1, 1)).u64(0).u32(1<<20, 0).bytes(data)...))
				send(t, c, append(header(i, progNFS, 3, 6, 0, 0), args{}.bytes(fh(1, 1)).u64(2<<20+5).u32(1<<20)...))
			}
			for range 12 {
				recv(t, c)
			}
		})
		wg.Go(func() {
			c := w.dial()
			send(t, c, append(header(1, progNFS, 3, 6, 0, 0), args{}.bytes(fh(1, 1)).u64(0).u32(1<<20)...))
			c.Write(binary.BigEndian.AppendUint32(nil, 1<<31|1<<20)) // a record that never comes
			time.Sleep(20 * time.Millisecond)
			c.Close()
		})
	}
	wg.Wait()
	if err := w.stop(); err != nil {
		t.Error(err)
	}
	if w.g.bytes.free != 4<<20 || w.g.reads.free != 4<<20 {
		t.Errorf("free: %d of writes, %d of reads, want %d", w.g.bytes.free, w.g.reads.free, 4<<20)
	}
}
