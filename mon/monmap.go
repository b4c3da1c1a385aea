package mon

import (
	"time"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// monmapService keeps the list of mons. State: "map", the encoded MonMap.
type monmapService struct {
	m       *Mon
	ver     uint64
	cur     *clustermap.MonMap
	encoded []byte
}

func (s *monmapService) name() string    { return "monmap" }
func (s *monmapService) version() uint64 { return s.ver }

func (s *monmapService) load(kv KV, version uint64) error {
	b, err := kv.Get(stateKey(s.name(), []byte("map")))
	if err != nil {
		return err
	}
	if b == nil {
		return wire.Errorf("mon.load: no monmap", "", wire.ENOENT)
	}
	s.ver = version
	return s.take(b)
}

func (s *monmapService) take(sealed []byte) error {
	b, err := unseal("monmap", sealed)
	if err != nil {
		return err
	}
	m, err := clustermap.DecodeMonMap(b)
	if err != nil {
		return err
	}
	s.cur, s.encoded = m, b
	return nil
}

// rank gives a member's raft id: its place in the map, from 1.
func (s *monmapService) rank(name string) uint64 {
	for i, mon := range s.cur.Mons {
		if mon.Name == name {
			return uint64(i) + 1
		}
	}
	return 0
}

func (s *monmapService) lead(bool)                   {}
func (s *monmapService) propose(time.Time) *proposal { return nil }
func (s *monmapService) tick(time.Time)              {}

func (s *monmapService) apply(_ *Batch, p *proposal) error {
	for _, c := range p.changes {
		if string(c.Key) == "map" {
			if err := s.take(c.Value); err != nil {
				return err
			}
		}
	}
	s.ver = p.next
	return nil
}

func (s *monmapService) committed(*proposal, bool) {
	for _, sess := range s.m.sessions {
		s.m.serveMonMap(sess)
	}
}
