package msgr

import (
	"sync"
	"sync/atomic"

	"github.com/spirula/spirula/rados/wire"
)

// keeper holds the data of every message until told otherwise.
type keeper struct {
	limit int
	arena *wire.Arena
	kept  atomic.Int64

	mu   sync.Mutex
	data []wire.Data
}

func (k *keeper) Dispatch(_ Conn, m wire.Message) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d := m.(*wire.MOSDOp).Ops[0].Data
	if d.Len() < 1<<10 {
		return
	}
	k.data = append(k.data, d.Retain())
	k.kept.Add(1)
}

func (k *keeper) Reset(Conn) {}

func (k *keeper) releaseOne() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.data) == 0 {
		return 0
	}
	k.data[0].Release()
	k.data = k.data[1:]
	k.kept.Add(-1)
	return 1
}
