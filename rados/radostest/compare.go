package radostest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

// vectorTimeout bounds one vector of Compare.
const vectorTimeout = 30 * time.Second

// Compare runs n random operation vectors on a pool under test and on a twin,
// both of which must be empty, and reports the first answer in which they
// differ. Data, xattrs, omap and snapshots occur, and every kind of failure;
// versions and times don't count. The same seed gives the same vectors.
func Compare(ctx context.Context, d rados.Doer, seed uint64, n int) error {
	g := &generator{rng: rand.New(rand.NewPCG(seed, 0))}
	twin := NewPool()
	for i := range n {
		op := g.next()
		look := &rados.Op{Object: op.Object, Ops: []wire.Op{{Code: wire.OpStat}, {Code: wire.OpRead}}}
		for _, o := range []*rados.Op{op, look} {
			a, b, err := both(ctx, twin, d, o)
			if err != nil {
				return fmt.Errorf("seed %d, vector %d (%s): no answer: %w", seed, i, describe(op), err)
			}
			if a != b {
				return fmt.Errorf("seed %d, vector %d (%s), answer to %d operations:\n got %s\nwant %s", seed, i, describe(op), len(o.Ops), b, a)
			}
		}
	}
	return nil
}

// both runs an operation on the twin and on d, and prints the answers.
func both(ctx context.Context, twin *Pool, d rados.Doer, op *rados.Op) (want, got string, err error) {
	ctx, cancel := context.WithTimeout(ctx, vectorTimeout)
	defer cancel()
	a, _ := twin.Do(ctx, op)
	b, err := d.Do(ctx, op)
	if b == nil {
		return "", "", err
	}
	want, got = answer(op, a), answer(op, b)
	a.Release()
	b.Release()
	return want, got, nil
}

// answer prints what counts of a reply. Whether a vector succeeds with 0 or
// with the 1 of a comparison in it does not: a Ceph gives the 1 also to the
// operations behind it that have no result of their own.
func answer(op *rados.Op, r *rados.Reply) string {
	var b strings.Builder
	fmt.Fprintf(&b, "result %d", min(r.Result, 0))
	for i := range r.Results {
		res := &r.Results[i]
		if r.Result < 0 && (res.Rval >= 0 || r.Result == errENOENT && res.Rval == errENOENT) {
			continue // outputs of a failed vector are not promised, nor which operation missed the object
		}
		fmt.Fprintf(&b, "; %d:%d", i, min(res.Rval, 0))
		if n := res.Data.Len(); n > 0 {
			fmt.Fprintf(&b, " data %d crc %08x", n, res.Data.CRC32C())
		}
		if len(res.Value) > 0 {
			fmt.Fprintf(&b, " value %q", res.Value)
		}
		for _, kv := range res.KVs {
			fmt.Fprintf(&b, " %q=%q", kv.Key, kv.Value)
		}
		if len(res.Keys) > 0 {
			fmt.Fprintf(&b, " keys %q", res.Keys)
		}
		if res.More {
			b.WriteString(" more")
		}
		if op.Ops[i].Code == wire.OpStat && res.Rval >= 0 {
			fmt.Fprintf(&b, " size %d", res.Size)
		}
		for _, c := range res.Clones {
			fmt.Fprintf(&b, " clone %d %v size %d", c.Clone, c.Snaps, c.Size)
		}
	}
	return b.String()
}

// describe prints an operation for a message.
func describe(op *rados.Op) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", op.Object)
	if op.Snap != 0 {
		fmt.Fprintf(&b, "@%d", op.Snap)
	}
	if op.SnapC.Seq != 0 {
		fmt.Fprintf(&b, " snapc %d%v", op.SnapC.Seq, op.SnapC.Snaps)
	}
	for i := range op.Ops {
		o := &op.Ops[i]
		fmt.Fprintf(&b, " [%#x flags %d off %d len %d num %d %q %q data %d cmp %d kvs %d keys %q]", uint16(o.Code), o.Flags, o.Off, o.Len, o.Num,
			o.Name, o.Value, o.Data.Len(), o.CmpOp, len(o.KVs), o.Keys)
	}
	return b.String()
}

// generator makes random vectors over a few names, so that they meet.
type generator struct {
	rng   *rand.Rand
	snaps []wire.SnapID // newest first
	last  wire.SnapID
}

func (g *generator) pick(names ...string) string { return names[g.rng.IntN(len(names))] }

func (g *generator) key() string { return fmt.Sprintf("k%02d", g.rng.IntN(20)) }

// place gives an offset, near boundaries of blocks more often than not.
func (g *generator) place() uint64 {
	if g.rng.IntN(2) == 0 {
		return uint64(g.rng.IntN(6)) * wire.BlockSize
	}
	return uint64(g.rng.IntN(5 * wire.BlockSize))
}

// data is never empty: a Ceph 16.2 does not answer some writes of nothing.
func (g *generator) data() wire.Data {
	b := make([]byte, 1+g.rng.IntN(2*wire.BlockSize))
	if g.rng.IntN(3) == 0 && len(b) >= wire.BlockSize {
		b = b[:len(b)/wire.BlockSize*wire.BlockSize]
	}
	for i := range b {
		b[i] = byte(g.rng.Uint32())
	}
	return wire.DataOf(b)
}

// bytes are mostly zeros, so that comparisons succeed at times.
func (g *generator) bytes(n int) wire.Data {
	b := make([]byte, n)
	if g.rng.IntN(2) == 0 {
		b[g.rng.IntN(n)] = byte(g.rng.Uint32())
	}
	return wire.DataOf(b)
}

// next gives a vector that reads, or one that writes.
func (g *generator) next() *rados.Op {
	op := &rados.Op{Object: g.pick("a", "b", "c", "d", "e")}
	write := g.rng.IntN(3) > 0
	for range 1 + g.rng.IntN(4) {
		if write && g.rng.IntN(4) > 0 {
			op.Ops = append(op.Ops, g.change())
		} else {
			op.Ops = append(op.Ops, g.look(write))
		}
		if g.rng.IntN(12) == 0 {
			op.Ops[len(op.Ops)-1].Flags |= wire.OpFailOK
		}
	}
	writes := false
	for i := range op.Ops {
		writes = writes || op.Ops[i].Code.Writes()
	}
	for i := range op.Ops { // what a Ceph leaves of an object that is deleted and made again in one vector depends on its history
		if op.Ops[i].Code == wire.OpDelete {
			op.Ops = op.Ops[i : i+1]
			break
		}
	}
	if !writes {
		if len(g.snaps) > 0 && g.rng.IntN(3) == 0 {
			op.Snap = g.snaps[g.rng.IntN(len(g.snaps))]
		} else if g.rng.IntN(10) == 0 {
			op.Ops = []wire.Op{{Code: wire.OpListSnaps}}
			op.Snap = wire.SnapDir
		}
		return op
	}
	for i := range op.Ops { // a Ceph says ENOENT to a comparison with an omap that is new in the vector
		if op.Ops[i].Code == wire.OpOmapCmp {
			op.Ops[0], op.Ops[i] = op.Ops[i], op.Ops[0]
		}
	}
	if g.rng.IntN(20) == 0 && len(g.snaps) < 10 {
		g.last += wire.SnapID(1 + g.rng.IntN(3))
		g.snaps = append([]wire.SnapID{g.last}, g.snaps...)
	}
	op.SnapC = wire.SnapContext{Seq: g.last, Snaps: append([]wire.SnapID(nil), g.snaps...)}
	return op
}

// change gives one operation that writes.
func (g *generator) change() wire.Op {
	switch g.rng.IntN(17) {
	case 15, 0:
		return wire.Op{Code: wire.OpCreate, Flags: wire.OpFlag(g.rng.IntN(2)) * wire.OpExcl}
	case 16:
		pattern := 1 + g.rng.IntN(1000)
		return wire.Op{Code: wire.OpWriteSame, Off: g.place(), Len: uint64(pattern*(1+g.rng.IntN(20)) + g.rng.IntN(8)/7), Data: g.bytes(pattern)}
	case 1, 2:
		return wire.Op{Code: wire.OpWrite, Off: g.place(), Data: g.data()}
	case 3:
		return wire.Op{Code: wire.OpWriteFull, Data: g.data()}
	case 4:
		return wire.Op{Code: wire.OpAppend, Data: g.data()}
	case 5:
		return wire.Op{Code: wire.OpTruncate, Off: g.place()}
	case 6:
		return wire.Op{Code: wire.OpZero, Off: g.place(), Len: 1 + g.place()} // a length of 0 ends a Ceph 16.2
	case 7:
		return wire.Op{Code: wire.OpDelete}
	case 8, 9:
		return wire.Op{Code: wire.OpSetXattr, Name: g.pick("x", "y"), Value: fmt.Append(nil, g.rng.IntN(10))}
	case 10:
		return wire.Op{Code: wire.OpOmapRmKeys, Keys: []string{g.key()}}
	case 11:
		return wire.Op{Code: wire.OpOmapRmKeyRange, Name: g.key(), Name2: g.key()}
	case 12:
		if g.rng.IntN(2) == 0 {
			return wire.Op{Code: wire.OpOmapClear}
		}
		return wire.Op{Code: wire.OpOmapSetHeader, Value: []byte(g.key())}
	}
	return wire.Op{Code: wire.OpOmapSetVals, KVs: []wire.KV{{Key: g.key(), Value: fmt.Append(nil, g.rng.Uint32())}}}
}

// look gives one operation that reads; in a writing vector only such whose
// output does not matter.
func (g *generator) look(comparesOnly bool) wire.Op {
	n := g.rng.IntN(16)
	if comparesOnly {
		n = g.rng.IntN(3)
	}
	switch n {
	case 12:
		return wire.Op{Code: wire.OpOmapGetValsByKeys, Keys: []string{"k00", "k05", "k10", g.pick("k11", "nothing")}}
	case 13:
		return wire.Op{Code: wire.OpCmpExt, Off: g.place(), Data: g.bytes(1 + g.rng.IntN(100))}
	case 14:
		chunk := uint64(1 + g.rng.IntN(3000))
		return wire.Op{Code: wire.OpChecksum, Off: g.place(), Len: chunk * uint64(g.rng.IntN(4)), Num: chunk,
			Value: []byte{2, 255, 255, 255, 255}}
	case 15:
		return wire.Op{Code: wire.OpCmpXattr, Name: g.pick("x", "y"), CmpOp: wire.CmpOp(1 + g.rng.IntN(6)), CmpMode: wire.CmpString,
			Value: fmt.Append(nil, g.rng.IntN(10))}
	case 0, 1:
		return wire.Op{Code: wire.OpCmpXattr, Name: g.pick("x", "y"), CmpOp: wire.CmpOp(1 + g.rng.IntN(6)), CmpMode: wire.CmpU64, Num: uint64(g.rng.IntN(10))}
	case 2:
		return wire.Op{Code: wire.OpOmapCmp, OmapCmps: []wire.OmapCmp{{Key: g.key(), Value: []byte("2"), Op: []wire.CmpOp{wire.CmpEQ, wire.CmpGT, wire.CmpLT}[g.rng.IntN(3)]}}}
	case 3, 4:
		return wire.Op{Code: wire.OpRead, Off: g.place(), Len: g.place()}
	case 5:
		return wire.Op{Code: wire.OpRead}
	case 6:
		return wire.Op{Code: wire.OpStat}
	case 7:
		return wire.Op{Code: wire.OpGetXattr, Name: g.pick("x", "y")}
	case 8:
		return wire.Op{Code: wire.OpGetXattrs}
	case 9:
		return wire.Op{Code: wire.OpOmapGetKeys, Name: g.pick("", g.key()), Num: uint64(1 + g.rng.IntN(20))}
	case 10:
		return wire.Op{Code: wire.OpOmapGetVals, Name: g.pick("", g.key()), Name2: g.pick("", "k1"), Num: uint64(1 + g.rng.IntN(20))}
	}
	return wire.Op{Code: wire.OpOmapGetHeader}
}
