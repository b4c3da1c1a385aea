package inode

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spirula/spirula/rados/wire"
)

// gen makes random records. Empty lists are nil in it, as decoders give them.
type gen struct{ *rand.Rand }

func (g gen) str() string {
	b := make([]byte, g.IntN(20))
	for i := range b {
		b[i] = byte(g.IntN(256))
	}
	return string(b)
}

func (g gen) bytes() []byte {
	if s := g.str(); s != "" {
		return []byte(s)
	}
	return nil
}

func (g gen) flip() bool        { return g.IntN(2) == 0 }
func (g gen) time() wire.Time   { return wire.Time(g.Uint64()) }
func (g gen) snap() wire.SnapID { return wire.SnapID(g.Uint64()) }

func list[T any](g gen, f func() T) []T {
	n := g.IntN(4)
	if n == 0 {
		return nil
	}
	out := make([]T, n)
	for i := range out {
		out[i] = f()
	}
	return out
}

func (g gen) kv() wire.KV { return wire.KV{Key: g.str(), Value: g.bytes()} }

func (g gen) content(depth int) Content {
	c := Content{Kind: ContentKind(g.IntN(5))}
	if c.Kind >= Plain {
		c.Stream, c.Snap, c.Sealed = g.Uint64(), g.snap(), g.flip()
	}
	switch c.Kind {
	case Inline:
		c.Inline = []byte(g.str())
	case Joined:
		c.Rows = list(g, func() Row { return Row{g.Uint64(), g.Uint64(), g.snap(), g.Uint64()} })
		c.NumRow = g.Uint32()
	case Overlay:
		c.BaseLimit = g.Uint64()
		if depth < MaxOverlay {
			b := g.content(depth + 1)
			c.Base = &b
		}
	}
	return c
}

func (g gen) checksum() Checksum {
	return Checksum{Algorithm: ChecksumAlgorithm(g.IntN(6)), Composite: g.flip(), Value: g.bytes()}
}

func (g gen) meta() Meta {
	return Meta{g.str(), g.str(), g.str(), g.str(), g.str(), g.str(), g.str(), g.str(), list(g, g.kv), g.str()}
}

func (g gen) inode() *Inode {
	in := &Inode{Ino: Ino(g.Uint64()), Gen: g.Uint32(), Type: Type(1 + g.IntN(7)), Mode: g.Uint32(), UID: g.Uint32(),
		GID: g.Uint32(), Nlink: g.Uint32(), Size: g.Uint64(), Atime: g.time(), Mtime: g.time(), Ctime: g.time(),
		Btime: g.time(), Change: g.Uint64(), Data: g.Uint64(), Content: g.content(0)}
	if g.flip() {
		in.Major, in.Minor, in.VSeq, in.OpenEpoch, in.Truncating = g.Uint32(), g.Uint32(), g.Uint64(), g.Uint64(), g.Uint64()
		in.Verifier, in.Target = [8]byte{1, 2, 3, 4, 5, 6, 7, byte(g.Uint32())}, g.str()
		in.Snaps, in.Xattrs = list(g, g.snap), list(g, g.kv)
	}
	if g.flip() {
		in.Dir = &DirPart{Ino(g.Uint64()), g.flip(), list(g, func() Frag { return Frag{g.Uint32(), g.str()} }), g.flip(),
			g.Uint32(), g.Uint64(), g.Uint64(), g.Uint32(), g.flip(), list(g, g.Uint64),
			Totals{g.Uint64(), g.Uint64(), g.Uint64(), g.time()}}
	}
	if g.flip() {
		in.Bucket = &BucketPart{g.str(), g.str(), g.Uint32(), g.Uint64()}
	}
	if g.flip() {
		in.S3 = &S3Part{g.str(), g.Uint64(), g.checksum(),
			list(g, func() PartSize { return PartSize{g.IntN(10000), g.Uint64(), g.bytes()} }), g.meta()}
	}
	return in
}

func (g gen) dentry() *Dentry {
	e := &Dentry{Seq: g.Uint64(), First: g.snap(), VSeq: g.Uint64(), Ino: Ino(g.Uint64()), Type: Type(1 + g.IntN(7)),
		Unconfirmed: g.flip()}
	if g.flip() {
		e.Inode = g.inode()
	}
	return e
}

func (g gen) row() *TableRow {
	r := &TableRow{Kind: RowKind(1 + g.IntN(3))}
	switch r.Kind {
	case RowAt:
		r.Parent, r.Token = Ino(g.Uint64()), g.str()
	case RowHere:
		r.Inode = g.inode()
		r.Links = list(g, func() Link { return Link{Ino(g.Uint64()), g.str()} })
	case RowRefs:
		r.Refs = g.Uint64()
	}
	return r
}

func (g gen) upload() *Upload {
	return &Upload{g.Uint64(), g.str(), g.str(), UploadSpec{g.meta(), ChecksumAlgorithm(g.IntN(6)), g.flip()}, g.time(),
		g.str(), g.Uint32(), g.Uint32(), g.flip(), g.str(), g.time(), g.checksum(), g.Uint64()}
}

func (g gen) part() *Part {
	return &Part{g.IntN(10000), g.Uint64(), g.str(), g.checksum(), g.time(), g.content(0)}
}

// codecs has every record with its way there and back, for the tests that
// hold for all of them.
var codecs = []struct {
	name   string
	make   func(g gen) any
	encode func(v any) []byte
	decode func(b []byte) (any, error)
}{
	{"inode", func(g gen) any { return g.inode() }, func(v any) []byte { return AppendInode(nil, v.(*Inode), true) },
		func(b []byte) (any, error) { return DecodeInode(b) }},
	{"dentry", func(g gen) any { return g.dentry() }, func(v any) []byte { return AppendDentry(nil, v.(*Dentry), true) },
		func(b []byte) (any, error) { return DecodeDentry(b) }},
	{"row", func(g gen) any { return g.row() }, func(v any) []byte { return AppendRow(nil, v.(*TableRow)) },
		func(b []byte) (any, error) { return DecodeRow(b) }},
	{"upload", func(g gen) any { return g.upload() }, func(v any) []byte { return AppendUpload(nil, v.(*Upload)) },
		func(b []byte) (any, error) { return DecodeUpload(b) }},
	{"part", func(g gen) any { return g.part() }, func(v any) []byte { return AppendPart(nil, v.(*Part)) },
		func(b []byte) (any, error) { return DecodePart(b) }},
	{"content", func(g gen) any { c := g.content(0); return &c }, func(v any) []byte { return AppendContent(nil, v.(*Content), true) },
		func(b []byte) (any, error) { return DecodeContent(b) }},
	{"inline", func(g gen) any { return []byte(g.str()) }, func(v any) []byte { return AppendInline(nil, v.([]byte)) },
		func(b []byte) (any, error) { return DecodeInline(b) }},
	{"birth", func(g gen) any { return Birth{Ino(g.Uint64()), Type(g.IntN(8)), g.str()} },
		func(v any) []byte { return AppendBirth(nil, v.(Birth)) }, func(b []byte) (any, error) { return DecodeBirth(b) }},
}

func TestRoundTrip(t *testing.T) {
	for _, c := range codecs {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(2000) {
				want := c.make(gen{rand.New(rand.NewPCG(seed, 1))})
				b := c.encode(want)
				got, err := c.decode(b)
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Fatalf("seed %d: %s", seed, d)
				}
				if n, err := RecordLen(append(b, 1, 2, 3)); err != nil || n != len(b) {
					t.Fatalf("seed %d: RecordLen %d, %v; want %d", seed, n, err, len(b))
				}
			}
		})
	}
}

// TestDamage: every cut and every flipped bit is noticed.
func TestDamage(t *testing.T) {
	for _, c := range codecs {
		b := c.encode(c.make(gen{rand.New(rand.NewPCG(7, 7))}))
		for i := range b {
			if _, err := c.decode(b[:i]); err == nil {
				t.Errorf("%s cut to %d of %d bytes decodes", c.name, i, len(b))
			}
			for bit := range 8 {
				x := bytes.Clone(b)
				x[i] ^= 1 << bit
				if _, err := c.decode(x); err == nil {
					t.Errorf("%s with bit %d of byte %d flipped decodes", c.name, bit, i)
				}
			}
		}
		if _, err := c.decode(append(bytes.Clone(b), 0)); err == nil {
			t.Errorf("%s with a byte after its end decodes", c.name)
		}
	}
}

// TestNewer: a record with unknown fields at its end decodes; one that says
// older readers can't follow does not.
func TestNewer(t *testing.T) {
	e := gen{rand.New(rand.NewPCG(3, 3))}.dentry()
	b := AppendDentry(nil, e, true)
	body := append(bytes.Clone(b[frameHead:len(b)-crcLen]), "more of later"...)
	newer := func(oldest byte) []byte {
		x, at := begin(nil, 9, oldest)
		return seal(append(x, body...), at)
	}
	got, err := DecodeDentry(newer(1))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(e, got); d != "" {
		t.Error(d)
	}
	if _, err := DecodeDentry(newer(2)); wire.ErrnoOf(err) != wire.EINVAL {
		t.Errorf("a record for newer readers only: %v", err)
	}
}

func TestInlineLeftOut(t *testing.T) {
	in := &Inode{Type: Reg, Content: Content{Kind: Inline, Inline: []byte("secret")}}
	e := &Dentry{Type: Reg, Inode: in}
	b := AppendDentry(nil, e, false)
	if bytes.Contains(b, in.Content.Inline) {
		t.Error("inline bytes are in the record")
	}
	got, err := DecodeDentry(b)
	if err != nil || got.Inode.Content.Kind != Inline || got.Inode.Content.Inline != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestGolden holds the bytes of today's versions: a change of them is a
// change of the format.
func TestGolden(t *testing.T) {
	path := filepath.Join("testdata", "golden.txt")
	var now strings.Builder
	for _, c := range codecs {
		for seed := range uint64(4) {
			b := c.encode(c.make(gen{rand.New(rand.NewPCG(seed, 99))}))
			fmt.Fprintf(&now, "%s %d %s\n", c.name, seed, hex.EncodeToString(b))
		}
	}
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(now.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(now.String(), "\n")); d != "" {
		t.Error(d)
	}
}

// FuzzDecode: no input makes a decoder panic, and what decodes encodes and
// decodes to the same again. The checksum is put right so that the fuzzer
// gets behind it.
func FuzzDecode(f *testing.F) {
	for i, c := range codecs {
		for seed := range uint64(3) {
			f.Add(byte(i), c.encode(c.make(gen{rand.New(rand.NewPCG(seed, 5))})))
		}
	}
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		c := codecs[int(which)%len(codecs)]
		if len(b) > crcLen {
			b = le.AppendUint32(b[:len(b)-crcLen:len(b)-crcLen], wire.CRC32C(b[:len(b)-crcLen]))
		}
		v, err := c.decode(b)
		if err != nil {
			return
		}
		again, err := c.decode(c.encode(v))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if d := cmp.Diff(v, again); d != "" {
			t.Fatal(d)
		}
	})
}

func benchDentry() *Dentry {
	return &Dentry{Seq: 9, Type: Reg, Ino: 77, Inode: &Inode{Ino: 77, Type: Reg, Mode: 0o644, Size: 4096,
		Content: Content{Kind: Plain, Stream: 78},
		S3: &S3Part{ETag: "d41d8cd98f00b204e9800998ecf8427e", Checksum: Checksum{Algorithm: CRC64NVME, Value: make([]byte, 8)},
			Meta: Meta{ContentType: "application/octet-stream", Owner: "AKIAEXAMPLE"}}}}
}

func BenchmarkDecodeDentry(b *testing.B) {
	rec := AppendDentry(nil, benchDentry(), false)
	b.SetBytes(int64(len(rec)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeDentry(rec); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendDentry(b *testing.B) {
	e, buf := benchDentry(), make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendDentry(buf[:0], e, false)
	}
}
