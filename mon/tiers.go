package mon

import (
	"slices"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// addTiers adds the commands that link a pool to another one as its cache.
// OSDs know nothing of tiers: they neither promote nor flush. So an overlay,
// which sends clients to the tier, can be set only while the pool below has
// no objects, and what clients write stays in the tier.
func addTiers(t commands) {
	const pool, tier = " name=pool,type=CephPoolname", " name=tierpool,type=CephPoolname"
	t.add("osd tier add"+pool+tier+" name=force_nonempty,type=CephChoices,strings=--force-nonempty,req=false", "make a pool the tier of another one", "rw", cmdTierAdd)
	for _, word := range []string{"remove", "rm"} {
		t.add("osd tier "+word+pool+tier, "make a pool no tier of another one any more", "rw", cmdTierRemove)
	}
	t.add("osd tier cache-mode"+pool+" name=mode,type=CephChoices,strings=writeback|proxy|readproxy|readonly|none name=yes_i_really_mean_it,type=CephBool,req=false",
		"set what a tier does", "rw", cmdTierMode)
	t.add("osd tier set-overlay"+pool+" name=overlaypool,type=CephPoolname", "send the clients of a pool to its tier", "rw", cmdTierOverlay)
	for _, word := range []string{"remove-overlay", "rm-overlay"} {
		t.add("osd tier "+word+pool, "send the clients of a pool to itself again", "rw", cmdTierNoOverlay)
	}
}

// tierChange changes two pools in one epoch, from which on clients send what
// is under way anew.
func (c *call) tierChange(changes map[int64]func(*clustermap.Pool), format string, a ...any) {
	epoch := c.m.osd.base().Epoch + 1
	for id, change := range changes {
		c.m.osd.editPool(id, func(p *clustermap.Pool) wire.Errno {
			change(p)
			p.LastForceResend, p.LastForceResendPreNautilus, p.LastForceResendPreLuminous = epoch, epoch, epoch
			return 0
		}, nil)
	}
	c.m.osd.change(true, c.committed(format, a...))
}

// poolPair reads the two pools of a command.
func (c *call) poolPair(upper string) (base, tier int64, ok bool) {
	if base, ok = c.pool("pool"); ok {
		tier, ok = c.pool(upper)
	}
	return base, tier, ok
}

func cmdTierAdd(c *call) {
	base, tier, ok := c.poolPair("tierpool")
	if !ok {
		return
	}
	view := c.m.osd.view()
	b, p := view.Pool(base), view.Pool(tier)
	baseName, tierName := c.args.str("pool"), c.args.str("tierpool")
	switch {
	case p.TierOf == base:
		c.ok("pool '%s' is now (or already was) a tier of '%s'", tierName, baseName)
	case base == tier || p.TierOf >= 0 || b.TierOf >= 0 || len(p.Tiers) > 0:
		c.fail(wire.EINVAL, "tier pool '%s' or pool '%s' has tiers or is one", tierName, baseName)
	case p.Flags&clustermap.PoolPoolSnaps != 0 || b.Flags&clustermap.PoolPoolSnaps != 0 && p.SnapSeq != 0:
		c.fail(wire.ENOTEMPTY, "tier pool '%s' has snapshot state; it cannot be added as a tier without breaking the pool", tierName)
	case c.m.osd.poolSums()[tier].Objects > 0 && c.args.str("force_nonempty") == "":
		c.fail(wire.ENOTEMPTY, "tier pool '%s' is not empty; --force-nonempty to force", tierName)
	default:
		c.tierChange(map[int64]func(*clustermap.Pool){
			base: func(p *clustermap.Pool) { p.Tiers = append(p.Tiers, uint64(tier)) },
			tier: func(p *clustermap.Pool) { p.TierOf = base },
		}, "pool '%s' is now (or already was) a tier of '%s'", tierName, baseName)
	}
}

func cmdTierRemove(c *call) {
	base, tier, ok := c.poolPair("tierpool")
	if !ok {
		return
	}
	view := c.m.osd.view()
	baseName, tierName := c.args.str("pool"), c.args.str("tierpool")
	switch {
	case view.Pool(tier).TierOf != base:
		c.ok("pool '%s' is now (or already was) not a tier of '%s'", tierName, baseName)
	case view.Pool(base).ReadTier == tier || view.Pool(base).WriteTier == tier:
		c.fail(wire.EBUSY, "tier pool '%s' is the overlay for '%s'; please remove-overlay first", tierName, baseName)
	default:
		c.tierChange(map[int64]func(*clustermap.Pool){
			base: func(p *clustermap.Pool) {
				p.Tiers = slices.DeleteFunc(p.Tiers, func(t uint64) bool { return t == uint64(tier) })
			},
			tier: func(p *clustermap.Pool) { p.TierOf, p.CacheMode = -1, clustermap.CacheNone },
		}, "pool '%s' is now (or already was) not a tier of '%s'", tierName, baseName)
	}
}

func cmdTierMode(c *call) {
	id, ok := c.pool("pool")
	if !ok {
		return
	}
	want, name := c.args.str("mode"), c.args.str("pool")
	p := c.m.osd.view().Pool(id)
	if p.TierOf < 0 {
		c.fail(wire.EINVAL, "pool '%s' is not a tier", name)
		return
	}
	for _, mode := range []clustermap.CacheMode{clustermap.CacheNone, clustermap.CacheWriteback, clustermap.CacheReadOnly, clustermap.CacheReadProxy, clustermap.CacheProxy} {
		if mode.String() != want {
			continue
		}
		if p := c.m.osd.view().Pool(p.TierOf); p != nil && p.ReadTier == id && mode != clustermap.CacheNone && mode != clustermap.CacheWriteback {
			c.fail(wire.EOPNOTSUPP, "cache mode %s is not supported for an overlay", want)
			return
		}
		c.tierChange(map[int64]func(*clustermap.Pool){id: func(p *clustermap.Pool) { p.CacheMode = mode }}, "set cache-mode for pool '%s' to %s", name, want)
		return
	}
	c.fail(wire.EINVAL, "'%s' is not a valid cache mode", want)
}

func cmdTierOverlay(c *call) {
	base, tier, ok := c.poolPair("overlaypool")
	if !ok {
		return
	}
	b, mode := c.m.osd.view().Pool(base), c.m.osd.view().Pool(tier).CacheMode
	baseName, tierName := c.args.str("pool"), c.args.str("overlaypool")
	switch {
	case !slices.Contains(b.Tiers, uint64(tier)):
		c.fail(wire.EINVAL, "tier pool '%s' is not a tier of '%s'", tierName, baseName)
	case b.ReadTier == tier && b.WriteTier == tier:
		c.ok("overlay for '%s' is now (or already was) '%s'", baseName, tierName)
	case b.ReadTier >= 0:
		c.fail(wire.EINVAL, "pool '%s' has overlay already; please remove-overlay first", baseName)
	case mode != clustermap.CacheNone && mode != clustermap.CacheWriteback:
		c.fail(wire.EOPNOTSUPP, "cache mode %s is not supported for an overlay", mode)
	case c.m.osd.poolSums()[base].Objects > 0:
		c.fail(wire.EOPNOTSUPP, "pool '%s' has objects, which tiers do not promote here", baseName)
	default:
		c.tierChange(map[int64]func(*clustermap.Pool){base: func(p *clustermap.Pool) { p.ReadTier, p.WriteTier = tier, tier }},
			"overlay for '%s' is now (or already was) '%s'", baseName, tierName)
	}
}

func cmdTierNoOverlay(c *call) {
	base, ok := c.pool("pool")
	if !ok {
		return
	}
	name := c.args.str("pool")
	if c.m.osd.view().Pool(base).ReadTier < 0 {
		c.ok("there is now (or already was) no overlay for '%s'", name)
		return
	}
	c.tierChange(map[int64]func(*clustermap.Pool){base: func(p *clustermap.Pool) { p.ReadTier, p.WriteTier = -1, -1 }},
		"there is now (or already was) no overlay for '%s'", name)
}
