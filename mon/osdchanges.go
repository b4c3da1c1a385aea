package mon

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// osdFlagMask are the flags that one OSD may have.
const osdFlagMask = clustermap.StateNoUp | clustermap.StateNoDown | clustermap.StateNoIn | clustermap.StateNoOut

var osdFlags = map[string]clustermap.State{"noup": clustermap.StateNoUp, "nodown": clustermap.StateNoDown, "noin": clustermap.StateNoIn, "noout": clustermap.StateNoOut}

// addOSDChanges adds the commands that change the state of OSDs and the
// settings of the map.
func addOSDChanges(t commands) {
	const ids = " name=ids,type=CephString,n=N"
	const flags = " name=key,type=CephChoices,strings=full|pause|noup|nodown|noout|noin|nobackfill|norebalance|norecover|noscrub|nodeep-scrub|notieragent|nosnaptrim|pglog_hardlimit"
	t.add("osd down"+ids+" name=definitely_dead,type=CephBool,req=false", "mark OSDs down", "rw", cmdOSDDown)
	t.add("osd stop"+ids, "mark OSDs down", "rw", cmdOSDDown)
	t.add("osd in"+ids, "let OSDs take data", "rw", func(c *call) { cmdOSDInOut(c, "in") })
	t.add("osd out"+ids, "take data away from OSDs", "rw", func(c *call) { cmdOSDInOut(c, "out") })
	t.add("osd reweight name=id,type=CephOsdName name=weight,type=CephFloat,range=0.0|1.0", "let an OSD take part of its data", "rw", cmdOSDReweight)
	t.add("osd reweightn name=weights,type=CephString", "set the weights of several OSDs", "rw", cmdOSDReweightN)
	t.add("osd primary-affinity name=id,type=CephOsdName name=weight,type=CephFloat,range=0.0|1.0", "set how willingly an OSD is made primary", "rw", cmdOSDAffinity)
	t.add("osd set"+flags+" name=yes_i_really_mean_it,type=CephBool,req=false", "set a flag of the map", "rw", func(c *call) { setFlag(c, c.args.str("key"), true) })
	t.add("osd unset"+flags, "clear a flag of the map", "rw", func(c *call) { setFlag(c, c.args.str("key"), false) })
	t.add("osd pause", "hold up all operations of clients", "rw", func(c *call) { setFlag(c, "pause", true) })
	t.add("osd unpause", "go on with operations of clients", "rw", func(c *call) { setFlag(c, "pause", false) })
	t.add("osd set-group name=flags,type=CephString name=who,type=CephString,n=N", "set flags of OSDs", "rw", func(c *call) { setGroup(c, c.args.str("flags"), c.args.list("who"), true) })
	t.add("osd unset-group name=flags,type=CephString name=who,type=CephString,n=N", "clear flags of OSDs", "rw", func(c *call) { setGroup(c, c.args.str("flags"), c.args.list("who"), false) })
	for name := range osdFlags {
		t.add("osd add-"+name+ids, "set a flag of OSDs", "rw", func(c *call) { setGroup(c, name, c.args.list("ids"), true) })
		t.add("osd rm-"+name+ids, "clear a flag of OSDs", "rw", func(c *call) { setGroup(c, name, c.args.list("ids"), false) })
	}
	for _, which := range []string{"full", "backfillfull", "nearfull"} {
		t.add("osd set-"+which+"-ratio name=ratio,type=CephFloat,range=0.0|1.0", "set from which use on an OSD counts as "+which, "rw", func(c *call) { cmdRatio(c, which) })
	}
	t.add("osd setmaxosd name=newmax,type=CephInt,range=0", "set max_osd", "rw", cmdSetMaxOSD)
	t.add("osd set-require-min-compat-client name=version,type=CephString name=yes_i_really_mean_it,type=CephBool,req=false",
		"set the oldest release that clients may be of", "rw", cmdMinCompat)
	t.add("osd require-osd-release name=release,type=CephChoices,strings=luminous|mimic|nautilus|octopus|pacific name=yes_i_really_mean_it,type=CephBool,req=false",
		"set the release that OSDs must be of", "rw", func(c *call) {
			if r := c.args.str("release"); r != releaseName {
				c.fail(wire.EPERM, "require_osd_release cannot be lowered once it has been set: %s", r)
				return
			}
			c.ok("")
		})
}

func cmdOSDDown(c *call) {
	ids, ok := c.ids()
	if !ok {
		return
	}
	var words []string
	changed := false
	for _, id := range ids {
		switch view := c.m.osd.view(); {
		case !view.Exists(id):
			words = append(words, fmt.Sprintf("osd.%d does not exist. ", id))
		case !view.IsUp(id):
			words = append(words, fmt.Sprintf("osd.%d is already down. ", id))
		default:
			c.m.osd.markDown(id)
			words, changed = append(words, fmt.Sprintf("marked down osd.%d. ", id)), true
		}
	}
	c.finishChange(changed, strings.Join(words, ""))
}

// finishChange ends a command when what it has pending is committed, or at
// once if it changed nothing.
func (c *call) finishChange(changed bool, status string) {
	if changed {
		c.m.osd.change(true, c.committed("%s", status))
		return
	}
	c.ok("%s", status)
}

func cmdOSDInOut(c *call, where string) {
	ids, ok := c.ids()
	if !ok {
		return
	}
	all := slices.ContainsFunc(c.args.list("ids"), func(s string) bool { return s == "all" || s == "any" || s == "*" })
	words, changed := "", false
	for _, id := range ids {
		view := c.m.osd.view()
		switch {
		case !view.Exists(id):
			words += fmt.Sprintf("osd.%d does not exist. ", id)
			continue
		case view.IsIn(id) == (where == "in"):
			if !all {
				words += fmt.Sprintf("osd.%d is already %s. ", id, where)
			}
			continue
		}
		inc := c.m.osd.change(true, nil)
		inc.NewLastIn = inc.Modified
		o := &view.OSDs[id]
		inc.NewWeight[id] = 0
		if where == "in" {
			inc.NewWeight[id] = clustermap.WeightIn
			if w := o.XInfo.OldWeight; w != 0 && o.State&clustermap.StateAutoOut != 0 {
				inc.NewWeight[id] = w
			}
		}
		words, changed = words+fmt.Sprintf("marked %s osd.%d. ", where, id), true
	}
	c.finishChange(changed, words)
}

// fixedPoint turns a share into 16.16, ok false if it is not in [0, 1].
func fixedPoint(f float64) (uint32, bool) {
	return uint32(f*clustermapIn + 0.5), f >= 0 && f <= 1
}

func cmdOSDReweight(c *call) {
	id, ok := c.osd("id")
	if !ok {
		return
	}
	f, _ := c.args.float("weight", 0)
	w, ok := fixedPoint(f)
	if !ok {
		c.fail(wire.EINVAL, "weight must be in the range [0..1]")
		return
	}
	inc := c.m.osd.change(true, c.committed("reweighted osd.%d to %s (%x)", id, short(f), w))
	inc.NewWeight[id] = w
	inc.NewLastIn = inc.Modified
}

func cmdOSDReweightN(c *call) {
	var weights map[string]uint32
	if err := json.Unmarshal([]byte(c.args.str("weights")), &weights); err != nil {
		c.fail(wire.EINVAL, "weights must be a JSON object of OSD ids and 16.16 weights: %v", err)
		return
	}
	for s, w := range weights {
		id, ok := parseOSD(s)
		if !ok || w > clustermap.WeightIn || !c.m.osd.view().Exists(id) {
			c.fail(wire.ENOENT, "osd.%s does not exist, or %d is no weight", s, w)
			return
		}
	}
	if len(weights) == 0 {
		c.ok("")
		return
	}
	inc := c.m.osd.change(true, c.committed("reweighted %s", plural(len(weights), "osd")))
	for s, w := range weights {
		id, _ := parseOSD(s)
		inc.NewWeight[id] = w
	}
}

func cmdOSDAffinity(c *call) {
	id, ok := c.osd("id")
	if !ok {
		return
	}
	f, _ := c.args.float("weight", 0)
	w, ok := fixedPoint(f)
	if !ok {
		c.fail(wire.EINVAL, "weight must be in the range [0..1]")
		return
	}
	c.m.osd.change(true, c.committed("set osd.%d primary-affinity to %s (%x)", id, short(f), w)).NewAffinity[id] = w
}

func setFlag(c *call, key string, on bool) {
	flag := clustermap.Flag(0)
	for _, f := range append(mapFlags, struct {
		name string
		flag clustermap.Flag
	}{"notieragent", clustermap.FlagNoTierAgent}) {
		if f.name == key || key == "pause" && strings.HasPrefix(f.name, "pause") {
			flag |= f.flag
		}
	}
	if key == "pglog_hardlimit" && on {
		c.ok("pglog_hardlimit is set")
		return
	}
	if flag == 0 {
		c.fail(wire.EINVAL, "unrecognized flag '%s'", key)
		return
	}
	if key == "pause" {
		key = "pauserd,pausewr"
	}
	flags, word := c.m.osd.view().Flags|flag, "set"
	if !on {
		flags, word = flags&^flag, "unset"
	}
	c.m.osd.change(true, c.committed("%s is %s", key, word)).NewFlags = int32(flags)
}

// setGroup sets or clears flags of single OSDs; who may name a bucket for all
// below it.
func setGroup(c *call, flags string, who []string, on bool) {
	mask := clustermap.State(0)
	for _, f := range strings.Split(flags, ",") {
		if osdFlags[f] == 0 {
			c.fail(wire.EINVAL, "must specify flag(s) of {noup,nodown,noin,noout}: %s", f)
			return
		}
		mask |= osdFlags[f]
	}
	view := c.m.osd.view()
	var ids []int32
	for _, w := range who {
		if item, ok := view.Crush.ItemByName(w); ok && item < 0 {
			ids = append(ids, devicesBelow(view.Crush, item)...)
			continue
		}
		id, ok := parseOSD(w)
		if !ok {
			c.fail(wire.EINVAL, "invalid osd id or bucket: %s", w)
			return
		}
		ids = append(ids, id)
	}
	changed := false
	for _, id := range ids {
		if !view.Exists(id) {
			continue
		}
		diff := mask &^ view.OSDs[id].State
		if !on {
			diff = mask & view.OSDs[id].State
		}
		if diff != 0 {
			inc := c.m.osd.change(true, nil)
			inc.NewState[id] ^= diff
			changed = true
		}
	}
	c.finishChange(changed, "")
}

func cmdRatio(c *call, which string) {
	f, _ := c.args.float("ratio", 0)
	if f <= 0 || f > 1 {
		c.fail(wire.EINVAL, "a ratio must be in (0..1]")
		return
	}
	inc := c.m.osd.change(true, c.committed("osd set-%s-ratio %s", which, short(f)))
	switch which {
	case "full":
		inc.NewFull = float32(f)
	case "backfillfull":
		inc.NewBackfillFull = float32(f)
	default:
		inc.NewNearFull = float32(f)
	}
}

func cmdSetMaxOSD(c *call) {
	n, _ := c.args.num("newmax", 0)
	view := c.m.osd.view()
	if n < 0 || n > clustermap.MaxOSDs {
		c.fail(wire.EINVAL, "max_osd must be in [0..%d]", clustermap.MaxOSDs)
		return
	}
	for i := int(n); i < len(view.OSDs); i++ {
		if view.Exists(int32(i)) {
			c.fail(wire.EBUSY, "cannot shrink max_osd to %d because osd.%d (and possibly others) still in use", n, i)
			return
		}
	}
	c.m.osd.change(true, c.committed("set new max_osd = %d", n)).NewMaxOSD = int32(n)
}

func cmdMinCompat(c *call) {
	want := c.args.str("version")
	for r := uint8(1); r <= 18; r++ {
		if clustermap.ReleaseName(r) != want {
			continue
		}
		if need := c.m.osd.view().MinCompatClient(); r < need {
			c.fail(wire.EPERM, "osdmap current utilizes features that require %s; cannot set require_min_compat_client below that to %s", clustermap.ReleaseName(need), want)
			return
		}
		c.m.osd.change(true, c.committed("set require_min_compat_client to %s", want)).NewMinCompat = r
		return
	}
	c.fail(wire.EINVAL, "version %s is not recognized", want)
}

// itoa prints an OSD's number.
func itoa(id int32) string { return strconv.Itoa(int(id)) }
