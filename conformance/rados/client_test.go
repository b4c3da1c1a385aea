package rados

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/cephx"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// breaker is a network whose sessions break when asked to.
type breaker struct {
	*msgr.TCP
	mu   sync.Mutex
	open map[msgr.Conn]msgr.Dispatcher
}

// Connect implements msgr.Network.
func (b *breaker) Connect(me wire.EntityName, myAddr wire.Addr, peer wire.EntityType, addr wire.Addr, d msgr.Dispatcher, auth msgr.ClientAuth) (msgr.Conn, error) {
	c, err := b.TCP.Connect(me, myAddr, peer, addr, d, auth)
	if err == nil {
		b.mu.Lock()
		b.open[c] = d
		b.mu.Unlock()
	}
	return c, err
}

// breakAll loses every session, and gives how many there were.
func (b *breaker) breakAll() int {
	b.mu.Lock()
	open := b.open
	b.open = map[msgr.Conn]msgr.Dispatcher{}
	b.mu.Unlock()
	for c, d := range open {
		c.Close()
		d.Reset(c)
	}
	return len(open)
}

// breakable is a client over a breaker.
func breakable(t *testing.T, conf string) (*rados.Client, *breaker) {
	t.Helper()
	cf, err := rados.ReadConfig(conf)
	if err != nil {
		t.Fatal(err)
	}
	opts := rados.Options{MonAddrs: cf.MonAddrs, FSID: cf.FSID}
	if cf.Auth != rados.AuthNone {
		key := cf.Key
		for _, name := range cf.Keyrings {
			text, err := os.ReadFile(name)
			if err != nil {
				continue
			}
			k, err := cephx.ParseKeyring(text)
			if err != nil {
				t.Fatal(err)
			}
			key = k[cf.Name].Key
			break
		}
		opts.Auth = cephx.NewClient(cf.Name, key, cephx.ClientOptions{})
	}
	b := &breaker{TCP: msgr.NewTCP(msgr.TCPOptions{}), open: map[msgr.Conn]msgr.Dispatcher{}}
	opts.Net = b
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := rados.Connect(ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		b.TCP.Close()
	})
	return c, b
}

// TestOurClientSurvivesBrokenSessions loses all sessions again and again while
// writers work, whose appends would show a repetition, and while a watch waits.
func TestOurClientSurvivesBrokenSessions(t *testing.T) {
	needs(t, "ceph")
	s := newShell(t, judged(t))
	pool := s.pool()
	c, b := breakable(t, s.conf)
	io, err := c.IOCtx(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	if err := io.Create(t.Context(), "watched", true); err != nil {
		t.Fatal(err)
	}
	seen := make(chan string, 100)
	watch, err := io.Watch(t.Context(), "watched", rados.WatchOptions{OnNotify: func(n *rados.Notification) {
		seen <- string(n.Payload)
		n.Ack(t.Context(), nil)
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close(context.WithoutCancel(t.Context()))
	l := startLoad(t, c, []string{pool}, 3)
	breaks := 20
	lost := 0
	for range breaks {
		time.Sleep(150 * time.Millisecond)
		lost += b.breakAll()
	}
	l.finish()
	if lost < breaks {
		t.Errorf("%d sessions were lost in %d times", lost, breaks)
	}
	other := client(t, s.conf)
	theirs, err := other.IOCtx(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	s.eventually(time.Minute, "the watch receives again", func() bool {
		_, err := theirs.Notify(t.Context(), "watched", []byte("after all"), 2*time.Second)
		return err == nil && len(seen) > 0
	})
	if got := <-seen; got != "after all" {
		t.Errorf("the watch saw %q", got)
	}
}

// TestManyClientsOfOurs has many of our clients at once.
func TestManyClientsOfOurs(t *testing.T) {
	needs(t, "ceph")
	s := newShell(t, judged(t))
	pool := s.pool()
	var work sync.WaitGroup
	for i := range 50 {
		work.Go(func() {
			conf, err := rados.ReadConfig(s.conf)
			if err != nil {
				t.Error(err)
				return
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			c, err := rados.Dial(ctx, conf, nil)
			if err != nil {
				t.Errorf("client %d: %v", i, err)
				return
			}
			defer c.Close()
			io, err := c.IOCtx(ctx, pool)
			if err == nil {
				err = io.WriteFull(ctx, fmt.Sprint("o", i), []byte("x"))
			}
			if err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	work.Wait()
	if n := len((&pooled{s, pool}).lines("ls")); n != 50 {
		t.Errorf("%d objects, want 50", n)
	}
}
