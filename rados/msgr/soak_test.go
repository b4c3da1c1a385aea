package msgr

import (
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// mirror sends every message back, and looks at the checksums of blocks that
// came with its data.
type mirror struct{ t *testing.T }

func (r mirror) Dispatch(c Conn, m wire.Message) {
	d := m.(*wire.MOSDOp).Ops[0].Data
	for i := range d.NumSegs() {
		p := d.Seg(i).Bytes()
		for block := 0; len(p) >= wire.BlockSize; block++ {
			if crc, ok := d.Seg(i).Buf.BlockCRC(block); !ok || crc != wire.CRC32C(p[:wire.BlockSize]) {
				r.t.Errorf("block %d: checksum %08x, known %v", block, crc, ok)
			}
			p = p[wire.BlockSize:]
		}
	}
	c.Send(m)
}

func (mirror) Reset(Conn) {}

// checker compares what comes back.
type checker struct {
	t    *testing.T
	back chan wire.Data
}

func (e *checker) Dispatch(_ Conn, m wire.Message) { e.back <- m.(*wire.MOSDOp).Ops[0].Data.Retain() }

func (e *checker) Reset(Conn) {
	e.t.Error("reset")
	close(e.back)
}

// TestSoak sends random bytes of random sizes there and back, with several
// clients, for as long as SPIRULA_SOAK says (a duration).
func TestSoak(t *testing.T) {
	d, err := time.ParseDuration(os.Getenv("SPIRULA_SOAK"))
	if err != nil {
		d = 300 * time.Millisecond
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	arena := wire.NewArena(true)
	server, user := NewTCP(TCPOptions{Arena: arena, Log: log, RecvBytes: 8 << 20}), NewTCP(TCPOptions{Arena: arena, Log: log})
	defer server.Close()
	defer user.Close()
	l, err := server.Listen(wire.EntityName{Type: wire.EntityOSD}, wire.Addr{}, mirror{t}, NoAuth{})
	if err != nil {
		t.Fatal(err)
	}
	random := make([]byte, 6<<20)
	seed := rand.Uint64()
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	rng.Read(random)
	t.Logf("seed %#x", seed)
	end := time.Now().Add(d)
	var wg sync.WaitGroup
	for i := range uint64(4) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, i))
			ch := &checker{t: t, back: make(chan wire.Data, 8)}
			c, err := user.Connect(wire.EntityName{Type: wire.EntityClient, Num: 5}, wire.Addr{}, wire.EntityOSD, l.Addr(), ch, NoAuth{})
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			soak(t, c, ch, rng, random, end)
		})
	}
	wg.Wait()
	user.Close()
	server.Close()
	if used := arena.InUse(); used != 0 {
		t.Errorf("%d bytes are not released", used)
	}
}

func soak(t *testing.T, c Conn, ch *checker, rng *rand.Rand, random []byte, end time.Time) {
	var sent []wire.Data
	for tid := uint64(1); time.Now().Before(end) || len(sent) > 0; tid++ {
		if len(sent) == 8 || !time.Now().Before(end) {
			got, ok := <-ch.back
			if !ok {
				return
			}
			if got.Len() != sent[0].Len() || got.CRC32C() != sent[0].CRC32C() {
				t.Error("other bytes came back")
			}
			got.Release()
			sent = sent[1:]
			continue
		}
		size := 1 + rng.IntN(1<<(1+rng.IntN(22)))
		off := rng.IntN(len(random) - size)
		data := wire.DataOf(random[off : off+size/2])
		data.AppendData(wire.DataOf(random[off+size/2 : off+size]))
		sent = append(sent, data)
		if err := c.Send(&wire.MOSDOp{TID: tid, Object: "o", Snap: wire.NoSnap, Ops: []wire.Op{{Code: wire.OpWriteFull, Data: data}}}); err != nil {
			t.Error(err)
			return
		}
	}
}
