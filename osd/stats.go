package osd

import (
	"sync/atomic"

	"github.com/spirula/spirula/rados/wire"
)

// counters count a PG's traffic since the daemon started.
type counters struct {
	reads, readBytes, writes, writeBytes atomic.Uint64
}

func (c *counters) read(bytes int) {
	c.reads.Add(1)
	c.readBytes.Add(uint64(bytes))
}

func (c *counters) write(bytes int) {
	c.writes.Add(1)
	c.writeBytes.Add(uint64(bytes))
}

// report adds the counters to a PG's report.
func (c *counters) report(s *wire.PoolStat) {
	s.Detail = &wire.PoolDetail{Sums: wire.ObjectSums{
		Reads: int64(c.reads.Load()), ReadKiB: int64(c.readBytes.Load() >> 10),
		Writes: int64(c.writes.Load()), WriteKiB: int64(c.writeBytes.Load() >> 10)}}
}
