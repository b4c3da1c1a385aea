package crush

import (
	"cmp"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// TreeItem is one line of the hierarchy as people see it.
type TreeItem struct {
	ID     int32
	Parent int32 // the bucket it is shown below; 0 for a root
	Depth  int
	Weight uint32 // 16.16: what its parent gives it, a root its own
}

// Tree gives the hierarchy from the roots down, in the order of Ceph's tools:
// roots by id, what is in a bucket by class and name, devices by id. Shadow
// trees come too if shadows is set. An item that is in two buckets comes twice.
func (m *Map) Tree(shadows bool) iter.Seq[TreeItem] {
	return func(yield func(TreeItem) bool) {
		child := map[int32]bool{}
		for _, b := range m.Buckets {
			if b == nil {
				continue
			}
			for _, i := range b.Items {
				child[i] = true
			}
		}
		for slot := len(m.Buckets) - 1; slot >= 0; slot-- {
			b := m.Buckets[slot]
			if b == nil || child[b.ID] || !shadows && m.IsShadow(b.ID) {
				continue
			}
			if !m.walk(TreeItem{ID: b.ID, Weight: b.Weight}, yield) {
				return
			}
		}
	}
}

func (m *Map) walk(at TreeItem, yield func(TreeItem) bool) bool {
	if !yield(at) {
		return false
	}
	b := m.Bucket(at.ID)
	if b == nil {
		return true
	}
	type entry struct {
		key   string
		item  TreeItem
		place int
	}
	below := make([]entry, len(b.Items))
	for i, id := range b.Items {
		key := "_" + m.Names[id]
		if id >= 0 {
			key = fmt.Sprintf("%s_osd.%08d", m.className(id), id)
		}
		below[i] = entry{key, TreeItem{id, b.ID, at.Depth + 1, b.ItemWeightAt(i)}, i}
	}
	slices.SortStableFunc(below, func(x, y entry) int {
		return cmp.Or(strings.Compare(x.key, y.key), cmp.Compare(x.place, y.place))
	})
	for _, e := range below {
		if !m.walk(e.item, yield) {
			return false
		}
	}
	return true
}

// WriteTree writes the hierarchy as crushtool --tree prints it: shadow trees
// included, with a column for each set of replacement weights.
func (m *Map) WriteTree(w io.Writer) error {
	sets := slices.Sorted(maps.Keys(m.ChooseArgs))
	t := textTable{title: []string{"ID", "CLASS", "WEIGHT"}, right: 3 + len(sets)}
	for _, key := range sets {
		title := strconv.FormatInt(key, 10)
		if key == DefaultChooseArgs {
			title = "(compat)"
		}
		t.title = append(t.title, title)
	}
	t.title = append(t.title, "TYPE NAME")
	for i := range m.Tree(true) {
		if len(t.rows) == MaxWork {
			return badMap("the tree has more than %d lines", MaxWork)
		}
		row := []string{strconv.Itoa(int(i.ID)), m.className(i.ID), treeWeight(i.Weight)}
		for _, key := range sets {
			row = append(row, m.ChooseArgs[key].weightIn(m.Bucket(i.Parent), i.ID))
		}
		name := "osd." + strconv.Itoa(int(i.ID))
		if b := m.Bucket(i.ID); b != nil {
			name = m.Types[int32(b.Type)] + " " + m.Names[i.ID]
		}
		t.rows = append(t.rows, append(row, strings.Repeat("    ", i.Depth)+name))
	}
	return t.write(w)
}

// weightIn is the weight that the set gives an item of a bucket for the first
// position; empty if it has none.
func (a ChooseArgs) weightIn(parent *Bucket, item int32) string {
	if parent == nil {
		return ""
	}
	arg := a.at(parent.ID)
	if arg == nil || len(arg.WeightSet) == 0 {
		return ""
	}
	i := indexOf(parent.Items, item)
	if i < 0 || i >= len(arg.WeightSet[0]) {
		return ""
	}
	return treeWeight(arg.WeightSet[0][i])
}

func treeWeight(w uint32) string {
	f := float32(w) / 0x10000
	if f < 0.000001 {
		return "0"
	}
	return strconv.FormatFloat(float64(f), 'f', 5, 64)
}

// textTable is a table of text: two spaces between columns, titles to the
// left, the cells of the first columns to the right.
type textTable struct {
	title []string
	right int // columns
	rows  [][]string
}

func (t *textTable) write(w io.Writer) error {
	width := make([]int, len(t.title))
	for _, row := range append(t.rows, t.title) {
		for c, cell := range row {
			width[c] = max(width[c], len(cell))
		}
	}
	var b []byte
	line := func(row []string, right int) {
		for c, cell := range row {
			if c > 0 {
				b = append(b, "  "...)
			}
			if c < right {
				b = fmt.Appendf(b, "%*s", width[c], cell)
			} else {
				b = fmt.Appendf(b, "%-*s", width[c], cell)
			}
		}
		b = append(b, '\n')
	}
	line(t.title, 0)
	for _, row := range t.rows {
		line(row, t.right)
	}
	_, err := w.Write(b)
	return err
}

// WriteDevices writes the devices below a bucket, one a line, as crushtool
// --bucket-tree prints them.
func (m *Map) WriteDevices(w io.Writer, bucket int32) error {
	var b []byte
	for i := range m.below(bucket) {
		b = append(b, m.itemName(i)...)
		b = append(b, '\n')
	}
	_, err := w.Write(b)
	return err
}

func (m *Map) below(bucket int32) iter.Seq[int32] {
	return func(yield func(int32) bool) {
		seen := map[int32]bool{}
		m.walk(TreeItem{ID: bucket}, func(i TreeItem) bool {
			if i.ID < 0 || seen[i.ID] {
				return true
			}
			seen[i.ID] = true
			return yield(i.ID)
		})
	}
}

// LocationOf names the buckets above an item, one for each type, in the order
// of the types' names. Where the item is in several buckets, the one with the
// highest id counts.
func (m *Map) LocationOf(id int32) []Location {
	var at []Location
	for range MaxDepth {
		parents := m.parents(id)
		if len(parents) == 0 {
			break
		}
		p := parents[0]
		at = append(at, Location{m.Types[int32(p.Type)], m.Names[p.ID]})
		id = p.ID
	}
	slices.SortStableFunc(at, func(a, b Location) int { return strings.Compare(a.Type, b.Type) })
	return at
}

// CheckNames finds what other tools could not print: a bucket without a name,
// a type without one, or (maxID > 0) a device whose id is not below maxID.
// The error is in the original tool's words, nil for a map without fault.
func (m *Map) CheckNames(maxID int32) error {
	fault := func(text string, id int32) error { return fmt.Errorf("%s: item#%d", text, id) }
	for i := range m.Tree(true) {
		kind := int32(0)
		if b := m.Bucket(i.ID); b != nil {
			if _, ok := m.Names[i.ID]; !ok {
				return fault("unknown item name", i.ID)
			}
			kind = int32(b.Type)
		} else if maxID > 0 && i.ID >= maxID {
			return fault("item id too large", i.ID)
		}
		if _, ok := m.Types[kind]; !ok {
			return fault("unknown type name", i.ID)
		}
	}
	if _, ok := m.Types[0]; !ok {
		return fault("unknown type name", 0)
	}
	return nil
}

// OverlappedRules names, a line for each ruleset and size range, the rules
// that a pool could mean alike: same ID, type and size.
func (m *Map) OverlappedRules() []string {
	type set struct{ id, kind uint8 }
	sets := map[set][]int{}
	var order []set
	for n, r := range m.Rules {
		if r == nil {
			continue
		}
		s := set{r.ID, r.Type}
		if sets[s] == nil {
			order = append(order, s)
		}
		sets[s] = append(sets[s], n)
	}
	slices.SortFunc(order, func(a, b set) int { return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.kind, b.kind)) })
	var lines []string
	for _, s := range order {
		last := ""
		for size := range 256 {
			var names []string
			for _, n := range sets[s] {
				if r := m.Rules[n]; int(r.MinSize) <= size && size <= int(r.MaxSize) {
					names = append(names, cmp.Or(m.RuleNames[int32(n)], "rule"+strconv.Itoa(n)))
				}
			}
			slices.Sort(names)
			both := strings.Join(names, ", ")
			if len(names) > 1 && both != last {
				lines = append(lines, fmt.Sprintf("overlapped rules in ruleset %d: %s", s.id, both))
			}
			last = both
		}
	}
	return lines
}
