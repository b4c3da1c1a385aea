package mon

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spirula/spirula/crush"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// raw is JSON that is made already.
func raw(b []byte) json.RawMessage { return json.RawMessage(b) }

// addTreeCommands adds the commands that show the hierarchy.
func addTreeCommands(t commands) {
	states := " name=states,type=CephChoices,strings=up|down|in|out|destroyed,n=N,req=false"
	t.add("osd tree name=epoch,type=CephInt,range=0,req=false"+states, "show the OSDs in their hierarchy", "r", func(c *call) { cmdOSDTree(c, "") })
	t.add("osd tree-from name=epoch,type=CephInt,range=0,req=false name=bucket,type=CephString"+states, "show the OSDs below a bucket", "r",
		func(c *call) { cmdOSDTree(c, c.args.str("bucket")) })
	t.add("osd crush tree name=shadow,type=CephChoices,strings=--show-shadow,req=false", "show the hierarchy of the CRUSH map", "r", cmdCrushTree)
	t.add("osd ls-tree name=epoch,type=CephInt,range=0,req=false name=name,type=CephString", "list the OSDs below a bucket", "r", func(c *call) {
		m := c.m.osd.cur
		item, ok := m.Crush.ItemByName(c.args.str("name"))
		if !ok {
			c.fail(wire.ENOENT, "\"%s\" does not exist", c.args.str("name"))
			return
		}
		ids, text := []int32{}, ""
		for _, id := range devicesBelow(m.Crush, item) {
			ids = append(ids, id)
			text += strconv.Itoa(int(id)) + "\n"
		}
		c.output(ids, text)
	})
}

// devicesBelow gives the devices below an item, or the item if it is one.
func devicesBelow(c *crush.Map, item int32) (out []int32) {
	if item >= 0 {
		return []int32{item}
	}
	var walk func(id int32, depth int)
	walk = func(id int32, depth int) {
		b := c.Bucket(id)
		if b == nil || depth > crush.MaxDepth {
			return
		}
		for _, i := range b.Items {
			if i >= 0 {
				out = append(out, i)
			} else {
				walk(i, depth+1)
			}
		}
	}
	walk(item, 0)
	slices.Sort(out)
	return slices.Compact(out)
}

// below reports whether an item is somewhere under a bucket.
func below(c *crush.Map, bucket, item int32) bool {
	b := c.Bucket(bucket)
	return b != nil && (slices.Contains(b.Items, item) || slices.ContainsFunc(b.Items, func(i int32) bool { return i < 0 && below(c, i, item) }))
}

// treeRow is a line of the hierarchy.
type treeRow struct {
	id       int32
	depth    int
	weight   uint32
	children []int32
	stray    bool // an OSD that the CRUSH map does not place
	root     bool
}

// treeFilter says which lines are wanted.
type treeFilter struct {
	all    bool   // all buckets, and every OSD that exists
	shadow bool   // the trees of device classes too
	from   string // below this bucket only
	states []string
}

// treeRows gives the hierarchy and, last, the OSDs that are not in it. An
// item that is in two places is shown in both.
func (s *osdService) treeRows(f treeFilter) []treeRow {
	m := s.cur
	var rows []treeRow
	placed := map[int32]bool{}
	base, inside := 0, f.from == ""
	for i := range m.Crush.Tree(f.shadow) {
		placed[i.ID] = true
		if f.from != "" {
			if m.Crush.Names[i.ID] == f.from {
				base, inside = i.Depth, true
			} else if inside && i.Depth <= base {
				inside = false
			}
		}
		if !inside || i.ID >= 0 && !s.wanted(i.ID, f) {
			continue
		}
		r := treeRow{id: i.ID, depth: i.Depth - base, weight: i.Weight, root: i.Parent == 0}
		if b := m.Crush.Bucket(i.ID); b != nil {
			r.children = append([]int32{}, b.Items...)
			slices.Reverse(r.children)
		}
		rows = append(rows, r)
	}
	if len(f.states) > 0 {
		rows = withoutEmpty(m.Crush, rows)
	}
	for i := range m.OSDs {
		if id := int32(i); m.Exists(id) && !placed[id] && f.from == "" && s.wanted(id, f) {
			rows = append(rows, treeRow{id: id, stray: true})
		}
	}
	return rows
}

// withoutEmpty drops buckets that no line is below of.
func withoutEmpty(c *crush.Map, rows []treeRow) (out []treeRow) {
	for i, r := range rows {
		keep := r.id >= 0
		for j := i + 1; j < len(rows) && rows[j].depth > r.depth; j++ {
			keep = keep || rows[j].id >= 0
		}
		if keep {
			out = append(out, r)
		}
	}
	return out
}

func (s *osdService) wanted(id int32, f treeFilter) bool {
	m := s.cur
	if f.all && !m.Exists(id) {
		return false
	}
	for _, st := range f.states {
		destroyed := m.Exists(id) && m.OSDs[id].State&clustermap.StateDestroyed != 0
		ok := map[string]bool{"up": m.IsUp(id), "down": !m.IsUp(id) && !destroyed, "in": m.IsIn(id), "out": !m.IsIn(id), "destroyed": destroyed}
		if !ok[st] {
			return false
		}
	}
	return true
}

// name is an item's name; typeOf the number and name of its type.
func (r treeRow) name(m *clustermap.OSDMap) string {
	if r.id >= 0 {
		return fmt.Sprintf("osd.%d", r.id)
	}
	return m.Crush.Names[r.id]
}

func (r treeRow) typeOf(m *clustermap.OSDMap) (int32, string) {
	if b := m.Crush.Bucket(r.id); b != nil {
		return int32(b.Type), m.Crush.Types[int32(b.Type)]
	}
	return 0, "osd"
}

// label is the indented name with its type.
func (r treeRow) label(m *clustermap.OSDMap) string {
	pad := strings.Repeat("    ", r.depth)
	if r.id >= 0 {
		return pad + r.name(m)
	}
	_, kind := r.typeOf(m)
	return pad + kind + " " + r.name(m)
}

// head is what all commands say of a line in JSON; short leaves out what
// only devices have.
func (r treeRow) head(m *clustermap.OSDMap, bucket bool) obj {
	n, kind := r.typeOf(m)
	o := obj{{"id", r.id}}
	if class := className(m.Crush, r.id); class != "" {
		o = append(o, member{"device_class", class})
	}
	o = append(o, obj{{"name", r.name(m)}, {"type", kind}, {"type_id", n}}...)
	if !bucket {
		o = append(o, obj{{"crush_weight", float64(r.weight) / clustermapIn}, {"depth", r.depth}}...)
	}
	if !r.root && !r.stray {
		o = append(o, member{"pool_weights", obj{}})
	}
	return o
}

func (s *osdService) reweight(id int32) float64 {
	if !s.cur.Exists(id) {
		return 0
	}
	return float64(s.cur.OSDs[id].Weight) / clustermapIn
}

func (s *osdService) affinity(id int32) float64 {
	if !s.cur.Exists(id) {
		return 1
	}
	return float64(s.cur.OSDs[id].Affinity) / clustermapIn
}

// upText is an OSD's state in a word.
func (s *osdService) upText(id int32) string {
	switch {
	case !s.cur.Exists(id):
		return "DNE"
	case s.cur.IsUp(id):
		return "up"
	case s.cur.OSDs[id].State&clustermap.StateDestroyed != 0:
		return "destroyed"
	}
	return "down"
}

func cmdOSDTree(c *call, from string) {
	s := c.m.osd
	if !c.epoch(s.cur.Epoch) {
		return
	}
	if _, ok := s.cur.Crush.ItemByName(from); from != "" && !ok {
		c.fail(wire.EINVAL, "no such bucket: %s", from)
		return
	}
	rows := s.treeRows(treeFilter{from: from, states: c.args.list("states")})
	t := newTable("ID", "CLASS", "WEIGHT", "<TYPE NAME", "STATUS", "REWEIGHT", "PRI-AFF")
	nodes, stray := []any{}, []any{}
	for _, r := range rows {
		o := r.head(s.cur, r.id < 0)
		if r.id < 0 {
			t.row(r.id, "", weightText(r.weight), r.label(s.cur))
			nodes = append(nodes, append(o, member{"children", r.children}))
			continue
		}
		status, exists := s.upText(r.id), 0
		if s.cur.Exists(r.id) {
			exists = 1
		}
		t.row(r.id, className(s.cur.Crush, r.id), weightText(r.weight), r.label(s.cur), status, strconv.FormatFloat(s.reweight(r.id), 'f', 5, 64),
			strconv.FormatFloat(s.affinity(r.id), 'f', 5, 64))
		o = append(o, obj{{"exists", exists}, {"status", status}, {"reweight", s.reweight(r.id)}, {"primary_affinity", s.affinity(r.id)}}...)
		if r.stray {
			stray = append(stray, o)
		} else {
			nodes = append(nodes, o)
		}
	}
	c.output(obj{{"nodes", nodes}, {"stray", stray}}, t.String())
}

func cmdCrushTree(c *call) {
	s := c.m.osd
	rows := s.treeRows(treeFilter{shadow: c.args.str("shadow") != ""})
	t, nodes, stray := newTable("ID", "CLASS", "WEIGHT", "<TYPE NAME"), []any{}, []any{}
	for _, r := range rows {
		if r.stray {
			continue
		}
		t.row(r.id, className(s.cur.Crush, r.id), weightText(r.weight), r.label(s.cur))
		o := r.head(s.cur, r.id < 0)
		if r.id < 0 {
			o = append(o, member{"children", r.children})
		}
		nodes = append(nodes, o)
	}
	c.output(obj{{"nodes", nodes}, {"stray", stray}}, t.String())
}
