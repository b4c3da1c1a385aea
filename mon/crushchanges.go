package mon

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spirula/spirula/crush"
	"github.com/spirula/spirula/rados/wire"
)

// addCrushChanges adds the commands that change the hierarchy.
func addCrushChanges(t commands) {
	const name = ",type=CephString,goodchars=[A-Za-z0-9-_.]"
	const at = " name=args,type=CephString,n=N,goodchars=[A-Za-z0-9-_.=]"
	const device = " name=id,type=CephOsdName name=weight,type=CephFloat,range=0.0" + at
	t.add("osd setcrushmap name=prior_version,type=CephInt,req=false", "replace the CRUSH map by the one given", "rw", cmdSetCrushMap)
	t.add("osd crush add"+device, "place an OSD", "rw", func(c *call) { cmdCrushSet(c, "add") })
	t.add("osd crush set"+device, "place an OSD", "rw", func(c *call) { cmdCrushSet(c, "set") })
	t.add("osd crush create-or-move"+device, "place an OSD, or move it", "rw", func(c *call) { cmdCrushSet(c, "create-or-move") })
	t.add("osd crush add-bucket name=name"+name+" name=type,type=CephString"+at+",req=false", "make a bucket", "rw", cmdAddBucket)
	t.add("osd crush move name=name"+name+at, "move a bucket or OSD", "rw", cmdCrushMove)
	for _, word := range []string{"rm", "remove"} {
		t.add("osd crush "+word+" name=name"+name+" name=ancestor"+name+",req=false", "take an item out of the map", "rw", cmdCrushRemove)
	}
	t.add("osd crush reweight name=name"+name+" name=weight,type=CephFloat,range=0.0", "set an item's weight", "rw", cmdCrushReweight)
	t.add("osd crush reweight-subtree name=name"+name+" name=weight,type=CephFloat,range=0.0", "set the weights of all OSDs below a bucket", "rw", cmdCrushReweightTree)
	t.add("osd crush reweight-all", "work out the weights of buckets anew", "rw", func(c *call) {
		m := c.m.osd.view().Crush.Clone()
		if err := m.ReweightAll(); err != nil {
			c.fail(wire.EINVAL, "%v", err)
			return
		}
		c.crushChange(m, "reweighted crush hierarchy")
	})
	t.add("osd crush rename-bucket name=srcname"+name+" name=dstname"+name, "rename a bucket", "rw", cmdRenameBucket)
	t.add("osd crush set-device-class name=class,type=CephString name=ids,type=CephString,n=N", "put OSDs into a class", "rw", cmdSetClass)
	t.add("osd crush rm-device-class name=ids,type=CephString,n=N", "take OSDs out of their class", "rw", cmdRemoveClass)
	t.add("osd crush tunables name=profile,type=CephChoices,strings=legacy|argonaut|bobtail|firefly|hammer|jewel|optimal|default", "set the tunables", "rw", cmdTunables)
}

func cmdSetCrushMap(c *call) {
	view := c.m.osd.view()
	if prior, _ := c.args.num("prior_version", -1); prior >= 0 && prior != int64(view.CrushVersion) {
		c.fail(wire.EPERM, "prior_version %d doesn't match crush version %d", prior, view.CrushVersion)
		return
	}
	m, err := crush.DecodeMap(c.in)
	if err == nil {
		err = m.Validate()
	}
	if err != nil {
		c.fail(wire.EINVAL, "Failed to parse crushmap: %v", err)
		return
	}
	for id, p := range view.Pools {
		if m.Rule(int(p.CrushRule)) == nil {
			c.fail(wire.EINVAL, "the crush rule no. %d of pool '%s' is in use and not in the new map", p.CrushRule, view.PoolNames[id])
			return
		}
	}
	c.m.osd.setCrush(m)
	c.m.osd.change(true, func(e wire.Errno, _ wire.Epoch) {
		if e != 0 {
			c.fail(e, "%v", e)
			return
		}
		c.finish(0, strconv.Itoa(int(c.m.osd.cur.CrushVersion)), nil)
	})
}

// crushWeight reads a weight in TiB.
func (c *call) crushWeight() (uint32, float64, bool) {
	f, _ := c.args.float("weight", 0)
	if f < 0 || f*clustermapIn > crush.MaxDeviceWeight {
		c.fail(wire.EINVAL, "a weight must be in [0..%g]", float64(crush.MaxDeviceWeight)/clustermapIn)
		return 0, 0, false
	}
	return uint32(f*clustermapIn + 0.5), f, true
}

func cmdCrushSet(c *call, how string) {
	id, ok := c.osd("id")
	if !ok {
		return
	}
	w, f, ok := c.crushWeight()
	if !ok {
		return
	}
	at, text, ok := c.places("args")
	if !ok {
		return
	}
	m := c.m.osd.view().Crush.Clone()
	name := "osd." + itoa(id)
	old, placed := crushWeights(m)[id]
	what := fmt.Sprintf("%s item id %d name '%s' weight %s at location %s", map[bool]string{true: "set", false: "add"}[placed || how == "set"], id, name, short(f), text)
	switch {
	case how == "set" && !placed:
		c.fail(wire.ENOENT, "unable to set item id %d name '%s' weight %s at location %s: does not exist", id, name, short(f), text)
		return
	case how == "create-or-move":
		what = fmt.Sprintf("create-or-move updated item name '%s' weight %s at location %s", name, short(f), text)
		if placed {
			w = old // it keeps its weight
		}
	}
	before := string(m.Encode())
	if err := m.Place(id, name, w, at); err != nil {
		c.fail(wire.EINVAL, "%s: %v", what, err)
		return
	}
	if string(m.Encode()) == before {
		c.ok("%s: no change", strings.TrimSuffix(what, " to crush map"))
		return
	}
	c.crushChange(m, "%s to crush map", what)
}

func cmdAddBucket(c *call) {
	m := c.m.osd.view().Crush.Clone()
	name, kind := c.args.str("name"), c.args.str("type")
	at, _, ok := c.places("args")
	if !ok {
		return
	}
	if _, exists := m.ItemByName(name); exists {
		c.ok("bucket '%s' already exists", name)
		return
	}
	if t, ok := m.TypeByName(kind); !ok || t == 0 {
		c.fail(wire.EINVAL, "type '%s' does not exist", kind)
		return
	}
	id, err := m.AddBucket(name, kind)
	if err == nil && len(at) > 0 {
		err = m.Move(id, at)
	}
	if err != nil {
		c.fail(wire.EINVAL, "%v", err)
		return
	}
	c.crushChange(m, "added bucket %s type %s to crush map", name, kind)
}

// item finds an item of the CRUSH map, or ends the command.
func (c *call) item(m *crush.Map, name string) (int32, bool) {
	id, ok := m.ItemByName(name)
	if !ok || strings.Contains(name, "~") {
		c.fail(wire.ENOENT, "item %s does not exist", name)
		return 0, false
	}
	return id, true
}

func cmdCrushMove(c *call) {
	m := c.m.osd.view().Crush.Clone()
	id, ok := c.item(m, c.args.str("name"))
	if !ok {
		return
	}
	at, text, ok := c.places("args")
	if !ok {
		return
	}
	if err := m.Move(id, at); err != nil {
		c.fail(wire.EINVAL, "%v", err)
		return
	}
	c.crushChange(m, "moved item id %d name '%s' to location %s in crush map", id, c.args.str("name"), text)
}

func cmdCrushRemove(c *call) {
	m, name := c.m.osd.view().Crush.Clone(), c.args.str("name")
	id, ok := m.ItemByName(name)
	if !ok {
		c.ok("device '%s' does not appear in the crush map", name)
		return
	}
	if b := m.Bucket(id); b != nil && len(b.Items) > 0 {
		c.fail(wire.ENOTEMPTY, "(39) Directory not empty")
		return
	}
	if err := m.Remove(id); err != nil {
		c.fail(wire.EBUSY, "%v", err)
		return
	}
	c.crushChange(m, "removed item id %d name '%s' from crush map", id, name)
}

func cmdCrushReweight(c *call) {
	m, name := c.m.osd.view().Crush.Clone(), c.args.str("name")
	w, f, ok := c.crushWeight()
	if !ok {
		return
	}
	id, ok := m.ItemByName(name)
	if !ok {
		c.fail(wire.ENOENT, "device '%s' does not appear in the crush map", name)
		return
	}
	if id < 0 {
		c.fail(wire.EINVAL, "device '%s' is not a leaf in the crush map", name)
		return
	}
	if err := m.Reweight(id, w); err != nil {
		c.fail(wire.EINVAL, "%v", err)
		return
	}
	c.crushChange(m, "reweighted item id %d name '%s' to %s in crush map", id, name, short(f))
}

func cmdCrushReweightTree(c *call) {
	m, name := c.m.osd.view().Crush.Clone(), c.args.str("name")
	w, f, ok := c.crushWeight()
	if !ok {
		return
	}
	id, ok := m.ItemByName(name)
	if !ok {
		c.fail(wire.ENOENT, "device '%s' does not appear in the crush map", name)
		return
	}
	for _, d := range devicesBelow(m, id) {
		if err := m.Reweight(d, w); err != nil {
			c.fail(wire.EINVAL, "%v", err)
			return
		}
	}
	c.crushChange(m, "reweighted subtree id %d name '%s' to %s in crush map", id, name, short(f))
}

func cmdRenameBucket(c *call) {
	m := c.m.osd.view().Crush.Clone()
	from, to := c.args.str("srcname"), c.args.str("dstname")
	id, ok := m.ItemByName(from)
	_, taken := m.ItemByName(to)
	switch {
	case !ok && taken:
		c.ok("renamed bucket %s into %s", from, to)
	case !ok:
		c.fail(wire.ENOENT, "bucket '%s' does not exist", from)
	case taken:
		c.fail(wire.EEXIST, "bucket '%s' already exists", to)
	case id >= 0 || strings.ContainsAny(from+to, "~ =") || to == "":
		c.fail(wire.EINVAL, "'%s' is no bucket, or '%s' no name for one", from, to)
	default:
		m.Names[id] = to
		for i, n := range m.Names {
			if class, ok := strings.CutPrefix(n, from+"~"); ok {
				m.Names[i] = to + "~" + class
			}
		}
		c.crushChange(m, "renamed bucket %s into %s", from, to)
	}
}

func cmdSetClass(c *call) {
	ids, ok := c.ids()
	if !ok {
		return
	}
	m, class := c.m.osd.view().Crush.Clone(), c.args.str("class")
	if class == "" || strings.ContainsAny(class, "~ =,") {
		c.fail(wire.EINVAL, "'%s' is no name for a device class", class)
		return
	}
	for _, id := range ids {
		if old := className(m, id); old != "" && old != class {
			c.fail(wire.EBUSY, "osd.%d has already bound to class '%s', can not reset class to '%s'; use 'ceph osd crush rm-device-class <id>' to remove old class first", id, old, class)
			return
		}
		if err := m.SetClass(id, class); err != nil {
			c.fail(wire.ENOENT, "osd.%d: %v", id, err)
			return
		}
	}
	c.classChange(m, fmt.Sprintf("set osd(s) %s to class '%s'", joinIDs(ids), class))
}

func joinIDs(ids []int32) string { return strings.Trim(osdList(ids), "[]") }

// classChange takes over a map whose classes changed, with shadow trees made
// anew.
func (c *call) classChange(m *crush.Map, text string) {
	if err := m.BuildShadows(); err != nil {
		c.fail(wire.EINVAL, "%v", err)
		return
	}
	c.crushChange(m, "%s", text)
}

func cmdRemoveClass(c *call) {
	ids, ok := c.ids()
	if !ok {
		return
	}
	m := c.m.osd.view().Crush.Clone()
	ids = slices.DeleteFunc(ids, func(id int32) bool { return className(m, id) == "" })
	for _, id := range ids {
		if err := m.SetClass(id, ""); err != nil {
			c.fail(wire.EBUSY, "osd.%d: %v", id, err)
			return
		}
	}
	if len(ids) == 0 {
		c.ok("done removing class of osd(s): ")
		return
	}
	c.classChange(m, "done removing class of osd(s): "+joinIDs(ids))
}

var errProfile = errors.New("profile of tunables is not supported")

// tunablesOf gives a profile by its name.
func tunablesOf(profile string) (crush.Tunables, error) {
	switch profile {
	case "legacy", "argonaut":
		return crush.TunablesLegacy(), nil
	case "jewel", "optimal", "default":
		return crush.TunablesJewel(), nil
	}
	return crush.Tunables{}, errProfile
}

func cmdTunables(c *call) {
	m, profile := c.m.osd.view().Crush.Clone(), c.args.str("profile")
	tun, err := tunablesOf(profile)
	if err != nil {
		c.fail(wire.EOPNOTSUPP, "%s: %v", profile, err)
		return
	}
	m.Tunables = tun
	if err := m.Validate(); err != nil {
		c.fail(wire.EINVAL, "%v", err)
		return
	}
	c.crushChange(m, "adjusted tunables profile to %s", profile)
}
