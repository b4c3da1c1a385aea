package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spirula/spirula/crush"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

func osdmaptoolCommand() *cobra.Command {
	return toolCommand("osdmaptool", "Make, show and test OSD maps, with the options of Ceph's osdmaptool", runOSDMapTool)
}

const osdmaptoolUsage = ` usage: spirula osdmaptool [OPTION]... MAPFILE
   --print, --dump plain        show the map as text
   --dump json                  as JSON
   --createsimple N [--clobber] [--with-default-pool] [--pg-bits N] [--pgp-bits N]
                                make a map of N OSDs
   --export-crush FILE          write the CRUSH map to FILE
   --import-crush FILE          replace the CRUSH map
   --mark-up-in                 show as if all OSDs were up and in
   --mark-out OSD               show as if an OSD were out
   --test-map-pgs [--pool ID] [--pg_num N]
                                map all PGs and show how they fall on the OSDs
   --test-map-pgs-dump          and each PG's acting OSDs
   --test-map-pgs-dump-all      and each PG's raw, up and acting OSDs
   --test-map-pg PGID           map one PG
   --test-map-object NAME [--pool ID]
   --upmap FILE                 write commands that even out the PGs to FILE,
                                - for stdout
     [--upmap-max N] [--upmap-deviation N] [--upmap-pool NAME]...
   --upmap-cleanup FILE         write commands that remove upmaps of PGs that
                                do not exist
   --save                       keep what --upmap and --upmap-cleanup propose
`

type osdmapOptions struct {
	file                                         string
	print, json, create, withPool, clobber       bool
	osds, pgBits, pgpBits                        int
	exportCrush, importCrush, object, pg, upmaps string
	upIn, testPGs, balance, cleanup, save        bool
	dump                                         clustermap.PGDump
	out, pool, pgNum, upmapMax, upmapDeviation   int
	upmapPools                                   []string
}

func runOSDMapTool(t *tool) int {
	if len(t.args) == 0 {
		t.fail("%s: -h or --help for usage", t.name)
	}
	o := &osdmapOptions{pgBits: 6, pgpBits: 6, out: -1, pool: -1, upmapMax: 10, upmapDeviation: 5}
	for t.at < len(t.args) {
		switch {
		case t.flag("-h", "--help"):
			t.printf("%s", osdmaptoolUsage)
			return 0
		case t.osdmapOption(o), t.osdmapTest(o):
		default:
			t.at++
		}
	}
	switch {
	case len(t.args) == 0:
		t.osdmapUsage("must specify osdmap filename")
	case len(t.args) > 1:
		t.osdmapUsage("too many arguments")
	case o.upmapDeviation < 1:
		t.osdmapUsage("upmap-deviation must be >= 1")
	}
	o.file = t.args[0]
	t.warnf("%s: osdmap file '%s'\n", t.name, o.file)
	t.runOSDMap(o)
	return 0
}

func (t *tool) osdmapUsage(why string) {
	t.warnf("%s: %s\n", t.name, why)
	t.printf("%s", osdmaptoolUsage)
	t.exit(1)
}

func (t *tool) osdmapOption(o *osdmapOptions) bool {
	var format string
	switch {
	case t.flag("-p", "--print"):
		o.print = true
	case t.text(&format, "--dump"):
		o.print, o.json = true, format != "" && format != "plain"
	case t.number(&o.osds, "--createsimple"):
		o.create = true
	case t.flag("--with-default-pool"):
		o.withPool = true
	case t.flag("--clobber"):
		o.clobber = true
	case t.number(&o.pgBits, "--pg-bits", "--osd-pg-bits"), t.number(&o.pgpBits, "--pgp-bits", "--osd-pgp-bits"),
		t.text(&o.exportCrush, "--export-crush"), t.text(&o.importCrush, "--import-crush"):
	case t.flag("--mark-up-in"):
		o.upIn = true
	case t.flag("--save"):
		o.save = true
	default:
		return t.number(&o.out, "--mark-out")
	}
	return true
}

func (t *tool) osdmapTest(o *osdmapOptions) bool {
	var pool string
	switch {
	case t.flag("--test-map-pgs"):
		o.testPGs = true
	case t.flag("--test-map-pgs-dump"):
		o.testPGs, o.dump = true, max(o.dump, clustermap.DumpActing)
	case t.flag("--test-map-pgs-dump-all"):
		o.testPGs, o.dump = true, clustermap.DumpAll
	case t.text(&o.pg, "--test-map-pg"), t.text(&o.object, "--test-map-object"), t.number(&o.pool, "--pool"),
		t.number(&o.pgNum, "--pg-num"), t.number(&o.upmapMax, "--upmap-max"),
		t.number(&o.upmapDeviation, "--upmap-deviation"):
	case t.text(&pool, "--upmap-pool"):
		if !slices.Contains(o.upmapPools, pool) {
			o.upmapPools = append(o.upmapPools, pool)
		}
	case t.text(&o.upmaps, "--upmap"):
		o.balance, o.cleanup = true, true
	case t.text(&o.upmaps, "--upmap-cleanup"):
		o.cleanup = true
	default:
		return false
	}
	return true
}

func (t *tool) runOSDMap(o *osdmapOptions) {
	m, modified := t.loadOSDMap(o)
	if o.upIn || o.out >= 0 {
		m = t.markOSDs(m, o)
	}
	if o.cleanup {
		m, modified = t.upmap(m, o, modified)
	}
	if o.importCrush != "" {
		m, modified = t.importCrush(m, o.importCrush), true
	}
	if o.exportCrush != "" {
		if err := os.WriteFile(o.exportCrush, m.Crush.Encode(), 0o644); err != nil {
			t.fail("%s: error writing crush map to %s: %v", t.name, o.exportCrush, err)
		}
		t.printf("%s: exported crush map to %s\n", t.name, o.exportCrush)
	}
	if o.object != "" {
		t.mapObject(m, o)
	}
	if o.pg != "" {
		t.mapPG(m, o.pg)
	}
	if o.testPGs {
		var pools []int64
		if o.pool != -1 {
			t.needPool(m, o.pool)
			pools = []int64{int64(o.pool)}
		}
		if o.pgNum < 0 || o.pgNum > clustermap.MaxPGs {
			t.fail("%s: --pg_num %d: at most %d", t.name, o.pgNum, clustermap.MaxPGs)
		}
		t.must(m.TestPGs(t.out, pools, uint32(o.pgNum), o.dump))
	}
	if !o.print && !modified && o.exportCrush == "" && o.object == "" && o.pg == "" && !o.testPGs && !o.cleanup {
		t.osdmapUsage("no action specified?")
	}
	if modified && !o.create {
		m = m.Edited(func(n *clustermap.OSDMap) { n.Epoch++ })
	}
	switch {
	case o.print && o.json:
		t.out.Write(m.JSON())
	case o.print:
		t.must(m.Dump(t.out))
	}
	if modified {
		t.printf("%s: writing epoch %d to %s\n", t.name, m.Epoch, o.file)
		if err := os.WriteFile(o.file, m.Encode(), 0o644); err != nil {
			t.fail("%s: error writing %s: %v", t.name, o.file, err)
		}
	}
}

// failMap ends the run as the original does when there is no map.
func (t *tool) failMap(format string, args ...any) {
	t.warnf("%s: %s\n", t.name, fmt.Sprintf(format, args...))
	t.exit(255)
}

func (t *tool) loadOSDMap(o *osdmapOptions) (m *clustermap.OSDMap, modified bool) {
	if !o.create {
		b, err := readFile(o.file)
		if err != nil {
			t.failMap("couldn't open %s: %s", o.file, openError(o.file, err))
		}
		if m, err = clustermap.DecodeOSDMap(b); err != nil {
			t.failMap("error decoding osdmap '%s'", o.file)
		}
		return m, false
	}
	if _, err := os.Stat(o.file); err == nil && !o.clobber {
		t.failMap("%s exists, --clobber to overwrite", o.file)
	}
	if o.osds < 1 {
		t.fail("%s: osd count must be > 0", t.name)
	}
	if o.osds > clustermap.MaxOSDs {
		t.fail("%s: at most %d OSDs", t.name, clustermap.MaxOSDs)
	}
	m, err := clustermap.Simple(int32(o.osds), wire.TimeOf(time.Now()),
		clustermap.SimpleOptions{Pool: o.withPool, PGBits: o.pgBits, PGPBits: o.pgpBits})
	t.must(err)
	return m, true
}

func (t *tool) markOSDs(m *clustermap.OSDMap, o *osdmapOptions) *clustermap.OSDMap {
	const up = clustermap.StateExists | clustermap.StateUp
	return m.Edited(func(n *clustermap.OSDMap) {
		if o.upIn {
			t.printf("marking all OSDs up and in\n")
			for i := range n.OSDs {
				n.OSDs[i].State |= up
				n.OSDs[i].Weight = clustermap.WeightIn
			}
		}
		if o.out >= 0 && o.out < len(n.OSDs) {
			t.printf("marking OSD@%d as out\n", o.out)
			n.OSDs[o.out].State |= up
			n.OSDs[o.out].Weight = 0
		}
	})
}

func (t *tool) importCrush(m *clustermap.OSDMap, name string) *clustermap.OSDMap {
	b, err := readFile(name)
	if err != nil {
		t.fail("%s: error reading crush map from %s: %s", t.name, name, openError(name, err))
	}
	c, err := crush.DecodeMap(b)
	if err != nil {
		t.fail("%s: error decoding crush map from %s: %v", t.name, name, err)
	}
	if c.MaxDevices > m.MaxOSD() {
		t.fail("%s: crushmap max_devices %d > osdmap max_osd %d", t.name, c.MaxDevices, m.MaxOSD())
	}
	inc := m.NewIncremental(0)
	inc.Crush = c.Encode()
	n, err := m.Apply(inc)
	t.must(err)
	t.printf("%s: imported %d byte crush map from %s\n", t.name, len(b), name)
	return n.Edited(func(n *clustermap.OSDMap) { n.CrushVersion = m.CrushVersion })
}

func (t *tool) needPool(m *clustermap.OSDMap, pool int) {
	if m.Pool(int64(pool)) == nil {
		t.fail("There is no pool %d", pool)
	}
}

func (t *tool) mapObject(m *clustermap.OSDMap, o *osdmapOptions) {
	pool := o.pool
	if pool == -1 {
		t.printf("%s: assuming pool 1 (use --pool to override)\n", t.name)
		pool = 1
	}
	t.needPool(m, pool)
	pg, _, err := m.ObjectPG(int64(pool), "", "", o.object)
	t.must(err)
	t.printf(" object '%s' -> %s -> %s\n", o.object, pg, commaList(m.Map(pg).Acting))
}

func commaList(osds []int32) string {
	return strings.ReplaceAll(fmt.Sprint(osds), " ", ",")
}

func (t *tool) mapPG(m *clustermap.OSDMap, text string) {
	pool, seed, ok := strings.Cut(text, ".")
	id, err := strconv.ParseInt(pool, 10, 64)
	n, err2 := strconv.ParseUint(seed, 16, 32)
	if !ok || err != nil || err2 != nil {
		t.osdmapUsage("failed to parse pg '" + text)
	}
	pg := wire.PGID{Pool: id, Seed: uint32(n)}
	t.printf(" parsed '%s' -> %s\n", text, pg)
	t.printf("%s\n", m.Describe(pg))
}

// upmap proposes upmaps, and prints the commands that make them.
func (t *tool) upmap(m *clustermap.OSDMap, o *osdmapOptions, modified bool) (*clustermap.OSDMap, bool) {
	var w io.Writer = t.out
	if o.upmaps != "-" {
		f, err := os.OpenFile(o.upmaps, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
		if err != nil {
			t.fail("error opening %s: %s", o.upmaps, openError(o.upmaps, err))
		}
		defer f.Close()
		t.printf("writing upmap command output to: %s\n", o.upmaps)
		w = f
	}
	t.printf("checking for upmap cleanups\n")
	plan := &clustermap.BalancePlan{}
	gone := m.NewIncremental(0)
	for pg := range m.UpmapItems {
		if p := m.Pool(pg.Pool); p == nil || pg.Seed >= p.PGNum {
			plan.Remove = append(plan.Remove, pg)
		}
	}
	plan.AddTo(gone)
	changes := t.writeUpmaps(w, plan)
	if changes > 0 {
		n, err := m.Apply(gone)
		t.must(err)
		m = n
	}
	if o.balance {
		plan := t.balance(m, o)
		t.writeUpmaps(w, plan)
		if changes += plan.Changes; plan.Changes > 0 {
			inc := m.NewIncremental(0)
			plan.AddTo(inc)
			n, err := m.Apply(inc)
			t.must(err)
			m = n
		}
	}
	return m, modified || o.save && changes > 0
}

func (t *tool) balance(m *clustermap.OSDMap, o *osdmapOptions) *clustermap.BalancePlan {
	t.printf("upmap, max-count %d, max deviation %d\n", o.upmapMax, o.upmapDeviation)
	var pools []int64
	names := o.upmapPools
	for _, name := range names {
		id, ok := m.PoolByName(name)
		if !ok {
			t.fail(" pool %s does not exist", name)
		}
		pools = append(pools, id)
	}
	if len(names) == 0 {
		for _, id := range slices.Sorted(maps.Keys(m.PoolNames)) {
			names = append(names, m.PoolNames[id])
		}
	}
	if len(names) == 0 {
		t.fail("No pools available")
	}
	t.printf("pools %s \n", strings.Join(names, " "))
	plan := m.Balance(clustermap.BalanceOptions{Pools: pools, MaxDeviation: float64(o.upmapDeviation), MaxChanges: o.upmapMax})
	t.printf("prepared %d/%d changes\n", plan.Changes, o.upmapMax)
	if plan.Changes == 0 {
		t.printf("Unable to find further optimization, or distribution is already perfect\n")
	}
	return plan
}

// writeUpmaps writes the commands of a plan, by PG.
func (t *tool) writeUpmaps(w io.Writer, plan *clustermap.BalancePlan) int {
	order := func(a, b wire.PGID) int {
		if a.Pool != b.Pool {
			return int(a.Pool - b.Pool)
		}
		return int(int64(a.Seed) - int64(b.Seed))
	}
	slices.SortFunc(plan.Remove, order)
	for _, pg := range plan.Remove {
		_, err := fmt.Fprintf(w, "ceph osd rm-pg-upmap-items %s\n", pg)
		t.must(err)
	}
	for _, pg := range slices.SortedFunc(maps.Keys(plan.Set), order) {
		line := "ceph osd pg-upmap-items " + pg.String()
		for _, p := range plan.Set[pg] {
			line += fmt.Sprintf(" %d %d", p.From, p.To)
		}
		_, err := fmt.Fprintln(w, line)
		t.must(err)
	}
	return len(plan.Remove) + len(plan.Set)
}
