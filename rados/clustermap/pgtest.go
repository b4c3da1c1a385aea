package clustermap

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/spirula/spirula/crush"
	"github.com/spirula/spirula/rados/wire"
)

// PGDump is what TestPGs prints of each PG.
type PGDump int

// The kinds of dump.
const (
	DumpNone   PGDump = iota
	DumpActing        // the acting set and its primary
	DumpAll           // raw, up and acting
)

// TestPGs maps all PGs of the pools (nil: of all), and writes how they fall on
// the OSDs, as osdmaptool --test-map-pgs does. pgNum replaces the pools' number
// of PGs; 0: not.
func (m *OSDMap) TestPGs(w io.Writer, pools []int64, pgNum uint32, dump PGDump) error {
	t := pgTest{m: m, count: make([]int, len(m.OSDs)), first: make([]int, len(m.OSDs)),
		primary: make([]int, len(m.OSDs))}
	if pools == nil {
		pools = sortedKeys(m.Pools)
	}
	if pgNum > 0 {
		n := m.Edited(func(n *OSDMap) {
			for id, p := range n.Pools {
				c := p.Clone()
				c.PGNum = pgNum
				n.Pools[id] = c
			}
		})
		t.m = n
	}
	for _, id := range pools {
		p := t.m.Pools[id]
		t.f("pool %d pg_num %d\n", id, p.PGNum)
		for seed := range p.PGNum {
			t.pg(wire.PGID{Pool: id, Seed: seed}, dump)
			if len(t.b) > 1<<16 {
				if _, err := w.Write(t.b); err != nil {
					return err
				}
				t.b = t.b[:0]
			}
		}
	}
	t.report()
	_, err := w.Write(t.b)
	return err
}

type pgTest struct {
	m                     *OSDMap
	b                     []byte
	count, first, primary []int // by OSD
	sizes                 [256]int
}

func (t *pgTest) f(format string, args ...any) { t.b = fmt.Appendf(t.b, format, args...) }

func (t *pgTest) pg(pg wire.PGID, dump PGDump) {
	mp := t.m.Map(pg)
	t.sizes[len(mp.Acting)]++
	switch dump {
	case DumpActing:
		t.f("%s\t%s\t%d\n", pg, listText(mp.Acting), mp.ActingPrimary)
	case DumpAll:
		t.f("%s\n", t.m.Describe(pg))
	}
	add := func(counts []int, osd int32) {
		if osd >= 0 && int(osd) < len(counts) {
			counts[osd]++
		}
	}
	for _, o := range mp.Acting {
		add(t.count, o)
	}
	if len(mp.Acting) > 0 {
		add(t.first, mp.Acting[0])
	}
	add(t.primary, mp.ActingPrimary)
}

// Describe gives a PG's raw, up and acting OSDs and their primaries in
// osdmaptool's words.
func (m *OSDMap) Describe(pg wire.PGID) string {
	set := func(osds []int32, primary int32) string { return fmt.Sprintf("(%s, p%d)", listText(osds), primary) }
	raw, mp := m.RawMap(pg), m.Map(pg)
	return fmt.Sprintf("%s raw %s up %s acting %s", pg, set(raw, firstOSD(raw)), set(mp.Up, mp.UpPrimary),
		set(mp.Acting, mp.ActingPrimary))
}

// report writes the table of OSDs. The average is cut to an integer, as the
// original's.
func (t *pgTest) report() {
	t.f("#osd\tcount\tfirst\tprimary\tc wt\twt\n")
	in, total := 0, 0
	least, most := -1, -1
	weights := deviceWeights(t.m.Crush)
	counted := func(i int) bool { return t.m.OSDs[i].Weight != 0 && t.m.Exists(int32(i)) && weights[int32(i)] > 0 }
	for i, n := range t.count {
		if !counted(i) {
			continue
		}
		in++
		total += n
		t.f("osd.%d\t%d\t%d\t%d\t%s\t%s\n", i, n, t.first[i], t.primary[i], short32(weights[int32(i)]), short32(t.m.OSDs[i].Weight))
		if n > 0 && (least < 0 || n < t.count[least]) {
			least = i
		}
		if n > 0 && (most < 0 || n > t.count[most]) {
			most = i
		}
	}
	avg := 0
	if in > 0 {
		avg = total / in
	}
	dev := 0.0
	for i, n := range t.count {
		if counted(i) {
			dev += float64((avg - n) * (avg - n))
		}
	}
	dev = math.Sqrt(dev / float64(in))
	expected := math.Sqrt(float64(total) / float64(in) * (1 - 1/float64(in)))
	t.f(" in %d\n avg %d stddev %s (%sx) (expected %s %sx))\n", in, avg, number(dev), number(dev/float64(avg)),
		number(expected), number(expected/float64(avg)))
	if least >= 0 {
		t.f(" min osd.%d %d\n", least, t.count[least])
	}
	if most >= 0 {
		t.f(" max osd.%d %d\n", most, t.count[most])
	}
	for size, n := range t.sizes {
		if n > 0 {
			t.f("size %d\t%d\n", size, n)
		}
	}
}

func short32(w uint32) string { return short(float64(float32(w) / 0x10000)) }

// number is short for what may be no number, as C prints it.
func number(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		s := strings.TrimPrefix(strings.ToLower(fmt.Sprint(v)), "+")
		if math.IsNaN(v) {
			return "-" + s
		}
		return s
	}
	return short(v)
}

// deviceWeights gives each device's weight in the lowest slot's bucket that
// has it.
func deviceWeights(c *crush.Map) map[int32]uint32 {
	w := map[int32]uint32{}
	for _, b := range c.Buckets {
		if b == nil {
			continue
		}
		for i, item := range b.Items {
			if _, ok := w[item]; !ok && item >= 0 {
				w[item] = b.ItemWeightAt(i)
			}
		}
	}
	return w
}
