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
	next    *clustermap.MonMap // to be proposed
	flying  bool
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

func (s *monmapService) lead(bool)      { s.flying = false }
func (s *monmapService) tick(time.Time) {}

// moveTo has the map name another address for a mon.
func (s *monmapService) moveTo(name string, addr wire.Addr) {
	next, err := clustermap.DecodeMonMap(s.encoded)
	if err != nil {
		panic("mon: our own monmap: " + err.Error())
	}
	next.Mon(name).Addrs = []wire.Addr{addr}
	s.next = next
}

func (s *monmapService) propose(now time.Time) *proposal {
	if s.flying || s.next == nil {
		return nil
	}
	n := s.next
	s.next, s.flying = nil, true
	n.Epoch, n.LastChange = s.cur.Epoch+1, max(wire.TimeOf(now), s.cur.LastChange)
	return &proposal{service: s.name(), prior: s.ver, next: s.ver + 1, changes: []Change{{Key: []byte("map"), Value: seal(n.Encode())}}}
}

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
	s.flying = false
	for _, sess := range s.m.sessions {
		s.m.serveMonMap(sess)
	}
}
