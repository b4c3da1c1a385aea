package rados

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spirula/spirula/rados/cephx"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// maxRSS is what a Spirula may hold under attack, in bytes.
const maxRSS = 300 << 20

// closeTimeout bounds how long a peer that broke the protocol stays connected.
const closeTimeout = 20 * time.Second

// Tags of frames, of those that appear here.
const (
	tagHello       = 1
	tagAuthRequest = 2
	tagBadMethod   = 3
	tagReplyMore   = 4
	tagRequestMore = 5
	tagAuthDone    = 6
	tagSignature   = 7
	tagClientIdent = 8
	tagMessage     = 17
)

// peer is one hand-made connection to a daemon.
type peer struct {
	net.Conn
	t *testing.T
}

func dialPeer(t *testing.T, addr string) *peer {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &peer{c, t}
}

var le = binary.LittleEndian

func banner(supported, required uint64) []byte {
	b := append([]byte("ceph v2\n"), 16, 0)
	return le.AppendUint64(le.AppendUint64(b, supported), required)
}

// crc is CRC-32C as Ceph has it, which inverts nothing at the end.
func crc(seed uint32, b []byte) uint32 {
	return ^crc32.Update(^seed, crc32.MakeTable(crc32.Castagnoli), b)
}

// preamble begins a frame of tag, with segments of the given lengths.
func preamble(tag byte, lengths ...uint32) []byte {
	b := []byte{tag, byte(len(lengths))}
	for i := range 4 {
		var n uint32
		if i < len(lengths) {
			n = lengths[i]
		}
		b = le.AppendUint16(le.AppendUint32(b, n), 8)
	}
	b = append(b, 0, 0)
	return le.AppendUint32(b, crc(0, b))
}

// frame is a whole frame of one segment.
func frame(tag byte, payload []byte) []byte {
	b := append(preamble(tag, uint32(len(payload))), payload...)
	return le.AppendUint32(b, crc(0xffffffff, payload))
}

// blob is a length and bytes, as most fields are.
func blob(b []byte) []byte { return append(le.AppendUint32(nil, uint32(len(b))), b...) }

// hello says that a client speaks, from an address of its own choice.
func hello() []byte {
	addr := []byte{1, 1, 1, 28, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 2, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}
	return frame(tagHello, append([]byte{byte(wire.EntityClient)}, addr...))
}

// authRequest asks to be let in by a method, in crc mode.
func authRequest(method uint32, payload []byte) []byte {
	b := le.AppendUint32(nil, method)
	b = le.AppendUint32(le.AppendUint32(b, 1), uint32(msgr.ModeCRC))
	return frame(tagAuthRequest, append(b, blob(payload)...))
}

// closed stands for the tag of a frame when there is none.
const closed = 0

// take reads one frame of the peer's in crc mode, after its banner.
func (p *peer) take() (tag byte, payload []byte) {
	p.t.Helper()
	p.SetReadDeadline(time.Now().Add(20 * time.Second))
	head := make([]byte, 32)
	if _, err := io.ReadFull(p, head); errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return closed, nil
	} else if err != nil {
		p.t.Fatalf("no frame: %v", err)
	}
	payload = make([]byte, le.Uint32(head[2:])+4)
	if _, err := io.ReadFull(p, payload); err != nil {
		p.t.Fatalf("no payload of a frame with tag %d: %v", head[0], err)
	}
	return head[0], payload[:len(payload)-4]
}

// begin sends banner and hello, and reads the peer's.
func (p *peer) begin() {
	p.t.Helper()
	p.Write(append(banner(1, 0), hello()...))
	p.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadFull(p, make([]byte, 26)); err != nil {
		p.t.Fatalf("no banner: %v", err)
	}
	if tag, _ := p.take(); tag != tagHello {
		p.t.Fatalf("tag %d for a hello", tag)
	}
}

// closes wants the daemon to end the connection, whatever it says before.
func (p *peer) closes(what string) {
	p.t.Helper()
	p.SetReadDeadline(time.Now().Add(closeTimeout))
	if _, err := io.Copy(io.Discard, p); errors.Is(err, os.ErrDeadlineExceeded) {
		p.t.Errorf("%s: the connection is open after %v", what, closeTimeout)
	}
}

// addrs gives the msgr2 addresses of the mon and of osd.0.
func (s *shell) addrs() map[string]string {
	s.Helper()
	var mons struct {
		Mons []struct {
			PublicAddrs addrvec `json:"public_addrs"`
		}
	}
	var osds struct {
		OSDs []struct {
			PublicAddrs addrvec `json:"public_addrs"`
		}
	}
	s.decode(s.ceph("mon", "dump", "-f", "json"), &mons)
	s.decode(s.ceph("osd", "dump", "-f", "json"), &osds)
	return map[string]string{"mon": mons.Mons[0].PublicAddrs.v2(), "osd": osds.OSDs[0].PublicAddrs.v2()}
}

type addrvec struct {
	Addrvec []struct{ Type, Addr string }
}

func (v addrvec) v2() string {
	for _, a := range v.Addrvec {
		if a.Type == "v2" {
			return a.Addr
		}
	}
	return ""
}

// besieged is a cluster under attack: a Spirula of the test's own, with a
// client that goes on all the while, or the real Ceph.
type besieged struct {
	*pooled
	at map[string]string
}

func besiege(t *testing.T) *besieged {
	t.Helper()
	needs(t, "rados", "ceph")
	c := foreign()
	if !c.foreign {
		server, conf, err := start(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		c = cluster{conf: conf, server: server}
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("the end of the server's log:\n%s", server.Tail())
			}
			server.Kill()
		})
	}
	s := newShell(t, c)
	b := &besieged{&pooled{s, s.pool()}, s.addrs()}
	b.file("kept", 100_000)
	b.rados("put", "kept", "kept")
	return b
}

// goesOn wants other clients served, and memory bounded.
func (b *besieged) goesOn() {
	b.Helper()
	kept := b.read("kept")
	begin := time.Now()
	b.rados("get", "kept", "kept.back")
	b.same("kept.back", kept)
	b.rados("put", "other", "kept")
	if took := time.Since(begin); took > 15*time.Second {
		b.Errorf("put and get of another client took %v", took)
	}
	if rss := b.rss(); rss > maxRSS {
		b.Errorf("the server holds %d MiB", rss>>20)
	}
}

// rss is the memory that the server holds; 0 of a real Ceph.
func (b *besieged) rss() int64 {
	b.Helper()
	if b.foreign {
		return 0
	}
	return residentSet(b.T, b.server.Pid())
}

func residentSet(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(kb), " kB"), 10, 64)
			return n << 10
		}
	}
	t.Fatalf("no VmRSS of %d", pid)
	return 0
}

// malformed are beginnings of connections after which no daemon goes on.
func malformed() map[string][]byte {
	good := append(banner(1, 0), hello()...)
	after := func(b ...[]byte) []byte { return slices.Concat(append([][]byte{good}, b...)...) }
	damaged := func(b []byte, at int) []byte {
		b = slices.Clone(b)
		b[at] ^= 1
		return b
	}
	many := le.AppendUint32(le.AppendUint32(nil, 2), 0xffffffff)
	return map[string][]byte{
		"another protocol":            []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		"msgr1":                       []byte("ceph v027" + strings.Repeat("\x00", 300)),
		"a banner without msgr2.1":    append(banner(0, 0), hello()...),
		"a banner that requires more": append(banner(1, 1<<40), hello()...),
		"a banner too long":           append([]byte("ceph v2\n\xff\xff"), make([]byte, 70_000)...),
		"a banner too short":          append([]byte("ceph v2\n\x01\x00"), make([]byte, 100)...),
		"no such tag":                 append(banner(1, 0), frame(99, []byte("x"))...),
		"tag 0":                       append(banner(1, 0), frame(0, []byte("x"))...),
		"a preamble damaged":          append(banner(1, 0), damaged(hello(), 3)...),
		"a payload damaged":           append(banner(1, 0), damaged(hello(), 40)...),
		"no segments":                 append(banner(1, 0), preamble(tagHello)...),
		"a segment of 4 GiB":          append(append(banner(1, 0), preamble(tagHello, 0xffffffff)...), make([]byte, 4096)...),
		"a hello of 64 MiB":           append(append(banner(1, 0), preamble(tagHello, 64<<20)...), make([]byte, 1<<20)...),
		"a hello cut off":             append(banner(1, 0), frame(tagHello, []byte{8, 1})...),
		"a hello with a long address": append(banner(1, 0), frame(tagHello, []byte{8, 1, 1, 1, 0xff, 0xff, 0xff, 0x7f})...),
		"two hellos":                  after(hello()),
		"a message at once":           after(preamble(tagMessage, 41, 0xffffff, 0, 0x7fffffff), make([]byte, 4096)),
		"an identity at once":         after(frame(tagClientIdent, make([]byte, 100))),
		"a signature at once":         after(frame(tagSignature, make([]byte, 32))),
		"proof before the question":   after(frame(tagRequestMore, blob([]byte("proof")))),
		"a request cut off":           after(frame(tagAuthRequest, []byte{2, 0})),
		"4 billion modes":             after(frame(tagAuthRequest, many)),
	}
}

// TestMalformedPeersAreRefused spares a real Ceph, whose osds do not bear it.
func TestMalformedPeersAreRefused(t *testing.T) {
	b := besiege(t)
	if b.foreign {
		t.Skip("an osd of Ceph's hangs after this")
	}
	var peers []*peer
	var what []string
	attack := func(of string, daemon string, beginning []byte) *peer {
		p := dialPeer(t, b.at[daemon])
		p.Write(beginning)
		peers, what = append(peers, p), append(what, daemon+", "+of)
		return p
	}
	rnd := rand.NewChaCha8([32]byte{1})
	for daemon := range b.at {
		for of, beginning := range malformed() {
			attack(of, daemon, beginning)
		}
		for range 50 {
			noise := make([]byte, 1+rnd.Uint64()%2000)
			rnd.Read(noise)
			attack("noise", daemon, slices.Concat(banner(1, 0), hello(), noise)).Conn.(*net.TCPConn).CloseWrite()
		}
	}
	b.goesOn()
	for i, p := range peers {
		p.closes(what[i])
	}
	b.goesOn()
	if log, err := os.ReadFile(b.server.Log); err != nil || bytes.Count(log, []byte("\n")) > 200 {
		t.Errorf("%d lines of log for %d peers: %v", bytes.Count(log, []byte("\n")), 2*(50+len(malformed())), err)
	}
}

// TestHalfOpenConnectionsAreBounded opens 2 000 connections that say a hello
// at most; SPIRULA_HALF_OPEN asks for another number.
func TestHalfOpenConnectionsAreBounded(t *testing.T) {
	b := besiege(t)
	n := 2000
	if v, err := strconv.Atoi(os.Getenv("SPIRULA_HALF_OPEN")); err == nil {
		n = v
	}
	before := b.rss()
	var opened []net.Conn
	defer func() {
		for _, c := range opened {
			c.Close()
		}
	}()
	beginnings := [][]byte{nil, banner(1, 0)[:5], banner(1, 0), append(banner(1, 0), hello()...), append(banner(1, 0), hello()[:20]...)}
	for i := range n {
		addr := b.at["mon"]
		if i%2 == 1 {
			addr = b.at["osd"]
		}
		c, err := net.DialTimeout("tcp", addr, 20*time.Second)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		opened = append(opened, c)
		c.Write(beginnings[i/2%len(beginnings)])
		if i == n/2 {
			b.goesOn()
		}
	}
	b.goesOn()
	if grown := b.rss() - before; grown > 150<<20 {
		t.Errorf("%d connections took %d MiB", n, grown>>20)
	}
}

// admin is our side of cephx for client.admin, outside of any client.
func (b *besieged) admin() *cephx.Client {
	b.Helper()
	name, err := cephx.ParseName("client.admin")
	if err != nil {
		b.Fatal(err)
	}
	key, err := cephx.ParseKey(strings.TrimSpace(b.ceph("auth", "get-key", "client.admin")))
	if err != nil {
		b.Fatal(err)
	}
	crc := []msgr.Mode{msgr.ModeCRC}
	return cephx.NewClient(name, key, cephx.ClientOptions{MonModes: crc, ServiceModes: crc})
}

// authenticate proves who we are, through change, which may alter each payload
// that we send. It gives what was sent, and the tag of the last answer.
func (p *peer) authenticate(c msgr.ClientAuth, daemon wire.EntityType, change func(i int, payload []byte) []byte) (sent [][]byte, last byte) {
	p.t.Helper()
	p.begin()
	h, err := c.Dial(daemon)
	if err != nil {
		p.t.Fatal(err)
	}
	method, _, payload, err := h.Request()
	if err != nil {
		p.t.Fatal(err)
	}
	payload = change(0, payload)
	sent = append(sent, payload)
	p.Write(authRequest(uint32(method), payload))
	for {
		tag, answer := p.take()
		switch tag {
		case tagReplyMore:
			if payload, err = h.More(answer[4:]); err != nil {
				p.t.Fatal(err)
			}
			payload = change(len(sent), payload)
			sent = append(sent, payload)
			p.Write(frame(tagRequestMore, blob(payload)))
		case tagAuthDone:
			if _, err := h.Done(le.Uint64(answer), msgr.Mode(le.Uint32(answer[8:])), answer[16:]); err != nil {
				p.t.Fatal(err)
			}
			return sent, tag
		default:
			return sent, tag
		}
	}
}

func TestReplayedAndForgedTicketsAreRefused(t *testing.T) {
	b := besiege(t)
	admin := b.admin()
	as := func(_ int, payload []byte) []byte { return payload }
	for _, d := range []struct {
		name string
		kind wire.EntityType
		// proof is where what proves our key lies in the second message: in
		// the first, there are our names and an old ticket.
		proof func(length int) (from, to int)
	}{
		{"mon", wire.EntityMon, func(int) (int, int) { return 3, 19 }},
		{"osd", wire.EntityOSD, func(n int) (int, int) { return n * 3 / 4, n }},
	} {
		addr := b.at[d.name]
		sent, tag := dialPeer(t, addr).authenticate(admin, d.kind, as)
		if tag != tagAuthDone {
			t.Fatalf("%s: the right key is refused with tag %d", d.name, tag)
		}
		if len(sent) < 2 {
			t.Errorf("%s: no challenge was asked", d.name)
		}
		refused := func(what string, change func(i int, payload []byte) []byte) {
			t.Helper()
			if _, tag := dialPeer(t, addr).authenticate(admin, d.kind, change); tag != tagBadMethod && tag != closed {
				t.Errorf("%s: %s is answered with tag %d", d.name, what, tag)
			}
		}
		// What was right on another connection is not on this one.
		refused("a replay", func(i int, payload []byte) []byte {
			if i < len(sent) {
				return sent[i]
			}
			return payload
		})
		for seed := range 20 {
			rnd := rand.New(rand.NewPCG(uint64(seed), 1))
			refused(fmt.Sprintf("damage %d", seed), func(i int, payload []byte) []byte {
				if i == 0 || len(payload) == 0 {
					return payload
				}
				payload = slices.Clone(payload)
				from, to := d.proof(len(payload))
				payload[from+rnd.IntN(to-from)] ^= byte(1 + rnd.IntN(255))
				return payload
			})
		}
		refused("an empty proof", func(i int, payload []byte) []byte {
			if i > 0 {
				return nil
			}
			return payload
		})
	}
	b.goesOn()
}

// TestSlowReadersStarveNobody stops clients in the middle of large reads.
func TestSlowReadersStarveNobody(t *testing.T) {
	b := besiege(t)
	b.rados("bench", "5", "write", "-b", "4194304", "-t", "4", "--max-objects", "40", "--no-cleanup", "--run-name", "slow")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const readers = 4
	for range readers {
		cmd := b.command(ctx, "rados", "-p", b.name, "bench", "60", "rand", "-t", "64", "--run-name", "slow")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			cmd.Process.Kill()
			cmd.Wait()
		}()
		time.Sleep(1500 * time.Millisecond)
		if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		b.goesOn()
		time.Sleep(500 * time.Millisecond)
	}
	t.Logf("with %d stopped readers the server holds %d MiB", readers, b.rss()>>20)
}
