package osd

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/spirula/spirula/osd/store/storetest"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// call is an operation of a history on one object: a read, a blind write, or
// a write if the xattr has a value.
type call struct {
	kind     int // 0 read, 1 write, 2 compare and write, 3 delete
	old, new string
}

type answer struct {
	result int32
	value  string
}

// register is the sequential object: "" is not there.
var register = porcupine.Model{
	Init: func() any { return "" },
	Step: func(s, in, out any) (bool, any) {
		st, c, a := s.(string), in.(call), out.(answer)
		switch c.kind {
		case 0:
			if st == "" {
				return a.result == -2, st
			}
			return a.result == 0 && a.value == st, st
		case 1:
			return a.result == 0, c.new
		case 2:
			switch {
			case st == "":
				return a.result == -2, st
			case st != c.old:
				return a.result == -125, st
			}
			return a.result == 0, c.new
		}
		if st == "" {
			return a.result == -2, ""
		}
		return a.result == 0, ""
	},
}

func (c call) ops() []wire.Op {
	set := wire.Op{Code: wire.OpSetXattr, Name: "v", Value: []byte(c.new)}
	switch c.kind {
	case 0:
		return []wire.Op{{Code: wire.OpGetXattr, Name: "v"}}
	case 1:
		return []wire.Op{set}
	case 2:
		return []wire.Op{{Code: wire.OpCmpXattr, Name: "v", CmpMode: wire.CmpString, CmpOp: wire.CmpEQ, Value: []byte(c.old)}, set}
	}
	return []wire.Op{{Code: wire.OpDelete}}
}

// TestLinearizable checks histories of one object under new intervals,
// restarts, broken connections and resends.
func TestLinearizable(t *testing.T) {
	c := newCluster(t, clusterOptions{pgs: 1, model: storetest.ModelOptions{}})
	var mu sync.Mutex
	var history []porcupine.Operation
	var wg sync.WaitGroup
	start := time.Now()
	var clients []*client
	for k := range 5 {
		cl := c.client(int64(6000 + k))
		clients = append(clients, cl)
		rng := rand.New(rand.NewPCG(uint64(k), 6))
		wg.Go(func() {
			last := ""
			for i := range 500 {
				in := call{kind: rng.IntN(4), old: last, new: fmt.Sprintf("%d.%d", k, i)}
				if in.kind == 3 && rng.IntN(3) > 0 {
					in.kind = 0
				}
				at := time.Since(start)
				r := cl.op("o", in.ops()...)
				out := answer{result: r.Result}
				if in.kind == 0 && r.Result == 0 {
					out.value = string(r.Results[0].Value)
					last = out.value
				}
				mu.Lock()
				history = append(history, porcupine.Operation{ClientId: k, Input: in, Call: int64(at), Output: out, Return: int64(time.Since(start))})
				mu.Unlock()
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	size := uint8(1)
	for turn := 0; ; turn++ {
		select {
		case <-done:
			if r := porcupine.CheckOperationsTimeout(register, history, 10*time.Second); r != porcupine.Ok {
				t.Fatalf("history of %d operations: %s", len(history), r)
			}
			return
		case <-time.After(8 * time.Millisecond):
		}
		clients[turn%len(clients)].drop()
		if turn%4 == 3 {
			old := c.osds[0]
			old.Close()
			c.start(0)
		} else { // a new interval
			size = 3 - size
			c.mon.change(func(m *clustermap.OSDMap, inc *clustermap.Incremental) {
				p := m.Pool(c.pool).Clone()
				p.Size = size
				inc.NewPools[c.pool] = p
			})
		}
	}
}
