package objop

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/spirula/spirula/rados/wire"
)

// every operation code that there is, some that there are not, and one that
// only looks like a write.
var everyCode = []wire.OpCode{wire.OpRead, wire.OpStat, wire.OpSparseRead, wire.OpNotify, wire.OpNotifyAck, wire.OpAssertVer,
	wire.OpListWatchers, wire.OpListSnaps, wire.OpSyncRead, wire.OpOmapGetKeys, wire.OpOmapGetVals, wire.OpOmapGetHeader,
	wire.OpOmapGetValsByKeys, wire.OpOmapCmp, wire.OpChecksum, wire.OpCmpExt, wire.OpGetXattr, wire.OpGetXattrs,
	wire.OpCmpXattr, wire.OpCall, wire.OpPGNLS, wire.OpWrite, wire.OpWriteFull, wire.OpTruncate, wire.OpZero, wire.OpDelete,
	wire.OpAppend, wire.OpCreate, wire.OpRollback, wire.OpWatch, wire.OpOmapSetVals, wire.OpOmapSetHeader, wire.OpOmapClear,
	wire.OpOmapRmKeys, wire.OpCopyFrom, wire.OpSetAllocHint, wire.OpWriteSame, wire.OpOmapRmKeyRange, wire.OpSetXattr,
	wire.OpRmXattr, wire.OpCopyFrom2, wire.OpTrimTrunc, wire.OpUndirty, wire.OpPGNLSFilter, wire.OpInvalid, 0xffff, 0x2fff}

// calls that do something with nearly any input.
var anyCalls = [][2]string{{"lock", "lock"}, {"lock", "list_locks"}, {"hello", "say_hello"}, {"hello", "record_hello"},
	{"hello", "turn_it_to_11"}, {"hello", "bad_writer"}, {"hello", "write_return_data"}, {"version", "read"}, {"numops", "add"},
	{"cas", "chunk_get_ref"}, {"none", "none"}}

// TestHostile runs vectors of any operations with any fields: none panics,
// and each keeps the rules of vectors (world.run checks them).
func TestHostile(t *testing.T) {
	numbers := []uint64{0, 1, 2, 3, 5, 4096, 5000, 128 << 20, 1 << 31, 1 << 32, 1 << 63, math.MaxUint64 - 1, math.MaxUint64}
	texts := []string{"", "a", "b", "_", "ss", "5", "\x00", string(make([]byte, 101))}
	results := map[int32]int{}
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 7))
		w := newWorld(t)
		num := func() uint64 { return numbers[rng.IntN(len(numbers))] }
		small := func() uint64 { return numbers[rng.IntN(8)] }
		text := func() string { return texts[rng.IntN(len(texts))] }
		for range 150 {
			req := Request{Snap: wire.NoSnap, Flags: wire.OSDFlag(rng.IntN(2)) * wire.FlagReturnVec}
			if rng.IntN(4) == 0 {
				req.Snap = wire.SnapID(num())
			}
			if rng.IntN(3) == 0 {
				seq := wire.SnapID(num())
				req.SnapC = wire.SnapContext{Seq: seq, Snaps: []wire.SnapID{seq}}
			}
			for range 1 + rng.IntN(4) {
				op := wire.Op{Code: everyCode[rng.IntN(len(everyCode))], Flags: wire.OpFlag(rng.IntN(4)),
					CmpOp: wire.CmpOp(rng.IntN(8)), CmpMode: wire.CmpMode(rng.IntN(4)), Off: num(), Len: num(), Num: num(),
					Name: text(), Name2: text(), Value: []byte(text()), Data: str(text()),
					Keys:     []string{text()},
					KVs:      []wire.KV{{Key: text(), Value: []byte(text())}},
					OmapCmps: []wire.OmapCmp{{Key: text(), Value: []byte(text()), Op: wire.CmpOp(rng.IntN(8))}}}
				if rng.IntN(2) == 0 {
					op.Off, op.Len = small(), small()
				}
				switch op.Code {
				case wire.OpCall:
					c := anyCalls[rng.IntN(len(anyCalls))]
					op.Name, op.Name2 = c[0], c[1]
				case wire.OpWatch:
					op.Watch = wire.WatchOp(rng.IntN(9))
				}
				op.Gen = uint32(rng.IntN(4))
				if rng.IntN(3) > 0 {
					op.Source = &wire.CopySource{Object: text(), Snap: wire.SnapID(num()), Flags: uint8(rng.IntN(256)), TruncateSize: num()}
				}
				req.Ops = append(req.Ops, op)
				req.Copies = append(req.Copies, []*Copied{nil, {}, {Err: wire.ENOENT}, {Size: 5, Data: str("12345")}, {Size: num()}}[rng.IntN(5)])
			}
			out := w.run("o", req)
			results[out.Result]++
			if len(out.Results) != len(req.Ops) {
				t.Fatalf("seed %d: %d results for %d operations", seed, len(out.Results), len(req.Ops))
			}
			if rng.IntN(5) == 0 {
				w.trim("o", wire.SnapID(num()))
			}
		}
	}
	if results[0] < 100 || len(results) < 8 {
		t.Fatalf("the vectors are of one kind: %v", results)
	}
}
