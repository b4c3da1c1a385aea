package mon

import (
	"crypto/rand"
	"time"

	"github.com/spirula/spirula/crush"
	"github.com/spirula/spirula/rados/cephx"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// PoolSpec is a pool of a new cluster.
type PoolSpec struct {
	Name    string
	PGNum   uint32 // 0: DefaultPGNum
	Size    uint8  // 0: the cluster's default
	MinSize uint8  // 0: as Ceph chooses it
}

// DefaultPGNum is the number of placement groups of a pool that doesn't say.
const DefaultPGNum = 32

// MkfsOptions describe a new cluster.
type MkfsOptions struct {
	FSID wire.FSID // zero: a random one
	Name string    // of the first mon
	Addr wire.Addr // where it listens; port and all
	Now  time.Time // zero: now
	// OSDs are the stores expected: osd.0 and so on, each a device of the
	// CRUSH map. They exist once they have booted.
	OSDs []MkfsOSD
	// PoolSize is how many replicas a pool gets that doesn't say; 0: as
	// many as there are OSDs, at most 3.
	PoolSize uint8
	Pools    []PoolSpec
	// Keyring has entities of the new cluster. "mon." and client.admin are
	// added if they are not in it, and keys are made for those without.
	Keyring cephx.Keyring
}

// MkfsOSD is one store of a new cluster.
type MkfsOSD struct {
	Host   string // "": localhost
	Weight uint32 // TiB as 16.16 fixed point; 0: one TiB
}

// Mkfs writes the state of a new cluster with one mon into kv, in one batch.
// A store that has a mon already is EEXIST.
func Mkfs(kv KV, opts MkfsOptions) (wire.FSID, error) {
	if b, err := kv.Get([]byte(keyBase)); err != nil || b != nil {
		if err == nil {
			err = wire.EEXIST
		}
		return wire.FSID{}, wire.Wrap("mon.mkfs", opts.Name, err)
	}
	if opts.FSID == (wire.FSID{}) {
		rand.Read(opts.FSID[:])
		opts.FSID[6] = opts.FSID[6]&0x0f | 0x40 // a random UUID's marks
		opts.FSID[8] = opts.FSID[8]&0x3f | 0x80
	}
	if opts.Now.IsZero() {
		opts.Now = time.Now()
	}
	now := wire.TimeOf(opts.Now)
	osdmap, err := firstMap(opts, now)
	if err != nil {
		return wire.FSID{}, wire.Wrap("mon.mkfs", opts.Name, err)
	}
	addr := opts.Addr
	addr.Type, addr.Nonce = wire.AddrMsgr2, 0
	monmap := clustermap.NewMonMap(opts.FSID, now, []clustermap.MonInfo{{Name: opts.Name, Addrs: []wire.Addr{addr}}})

	var b Batch
	mkfsLog(&b, 1)
	b.Put(stateKey("monmap", []byte("map")), seal(monmap.Encode()))
	b.Put([]byte(keyVersion+"monmap"), sealNum(1))
	b.Put(stateKey("osdmap", []byte(keyFull)), seal(osdmap.Encode()))
	b.Put([]byte(keyVersion+"osdmap"), sealNum(uint64(osdmap.Epoch)))
	mkfsAuth(&b, opts.Keyring, opts.Now)
	if err := kv.Apply(&b); err != nil {
		return wire.FSID{}, wire.Wrap("mon.mkfs", opts.Name, err)
	}
	return opts.FSID, nil
}

// firstMap makes the OSD map of a new cluster, pools included.
func firstMap(opts MkfsOptions, now wire.Time) (*clustermap.OSDMap, error) {
	var devices []crush.BootstrapDevice
	for i, o := range opts.OSDs {
		if o.Weight == 0 {
			o.Weight = clustermap.WeightIn
		}
		devices = append(devices, crush.BootstrapDevice{ID: int32(i), Host: o.Host, Weight: o.Weight})
	}
	c, err := crush.Bootstrap(devices)
	if err != nil {
		return nil, err
	}
	m := clustermap.New(opts.FSID, now, c, int32(len(opts.OSDs)))
	if len(opts.Pools) == 0 {
		return m, nil
	}
	size := opts.PoolSize
	if size == 0 {
		size = uint8(max(1, min(3, len(opts.OSDs))))
	}
	inc := m.NewIncremental(now)
	for _, p := range opts.Pools {
		if p.PGNum == 0 {
			p.PGNum = DefaultPGNum
		}
		if p.Size == 0 {
			p.Size = size
		}
		pool := clustermap.NewPool(p.Size, p.PGNum, defaultRule(m), now)
		if p.MinSize != 0 {
			pool.MinSize = p.MinSize
		}
		inc.AddPool(m, p.Name, pool)
	}
	return m.Seal(inc)
}

// defaultRule spreads replicas over hosts where there is more than one, over
// OSDs otherwise.
func defaultRule(m *clustermap.OSDMap) uint8 {
	hosts := 0
	for _, b := range m.Crush.Buckets {
		if b != nil && b.Type == 1 && len(b.Items) > 0 {
			hosts++
		}
	}
	if hosts > 1 {
		return crush.RuleByHost
	}
	return crush.RuleByOSD
}
