package mon

import (
	"fmt"
	"io"
	"sort"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// Dump prints what a mon's store holds: the log's bounds, each service's
// version, the maps in short, and the settings. It changes nothing and works
// without a running mon.
func Dump(kv KV, w io.Writer) error {
	m := &Mon{opts: Options{KV: kv}}
	m.opts.defaults()
	log, err := loadLog(kv)
	if err != nil {
		return wire.Wrap("mon.dump", "", err)
	}
	applied, err := getNum(kv, keyApplied)
	if err != nil {
		return wire.Wrap("mon.dump", "", err)
	}
	hard, conf, err := log.InitialState()
	if err != nil {
		return wire.Wrap("mon.dump", "", err)
	}
	first, _ := log.FirstIndex()
	last, _ := log.LastIndex()
	fmt.Fprintf(w, "raft: term %d commit %d applied %d entries %d..%d voters %v learners %v\n",
		hard.GetTerm(), hard.GetCommit(), applied, first, last, conf.GetVoters(), conf.GetLearners())
	for _, s := range m.makeServices() {
		v, err := getNum(kv, keyVersion+s.name())
		if err == nil {
			err = s.load(kv, v)
		}
		if err != nil {
			return wire.Wrap("mon.dump", s.name(), err)
		}
		fmt.Fprintf(w, "%s: version %d\n", s.name(), v)
	}
	fmt.Fprintf(w, "monmap: epoch %d fsid %v\n", m.monmap.cur.Epoch, m.monmap.cur.FSID)
	for i, mon := range m.monmap.cur.Mons {
		fmt.Fprintf(w, " mon.%s rank %d %v\n", mon.Name, i, mon.Addrs)
	}
	m.auth.dump(w)
	dumpOSDMap(w, m.osd.cur, m.osd.first)
	for _, v := range []struct {
		what string
		s    *valueService
	}{{"setting", m.conf.valueService}, {"key", m.keys}, {"muted", m.muted}} {
		for _, k := range v.s.keys() {
			fmt.Fprintf(w, "%s %s = %q\n", v.what, k, v.s.values[k])
		}
	}
	fmt.Fprintf(w, "log: %d lines, the last is %d\n", len(m.clog.lines), m.clog.last)
	return nil
}

// dumpOSDMap prints a map, and from which epoch on increments are kept.
func dumpOSDMap(w io.Writer, m *clustermap.OSDMap, first wire.Epoch) {
	fmt.Fprintf(w, "osdmap: epoch %d fsid %v flags %#x increments from %d\n", m.Epoch, m.FSID, uint32(m.Flags), first)
	for i := range m.OSDs {
		if o := &m.OSDs[i]; o.State != 0 {
			fmt.Fprintf(w, " osd.%d %v weight %g up_from %d up_thru %d down_at %d lost_at %d %v %v\n", i, stateWords(o),
				float64(o.Weight)/clustermapIn, o.Info.UpFrom, o.Info.UpThru, o.Info.DownAt, o.Info.LostAt, m.Addr(int32(i)), o.UUID)
		}
	}
	for _, id := range poolIDs(m) {
		p := m.Pools[id]
		fmt.Fprintf(w, " pool %d %q type %d size %d/%d pg_num %d rule %d flags %#x snap_seq %d removed %v\n", id, m.PoolNames[id],
			p.Type, p.Size, p.MinSize, p.PGNum, p.CrushRule, uint64(p.Flags), p.SnapSeq, m.RemovedSnapsQueue[id])
	}
	temps := make([]string, 0, len(m.PGTemp))
	for pg, osds := range m.PGTemp {
		temps = append(temps, fmt.Sprintf(" pg_temp %v %v\n", pg, osds))
	}
	sort.Strings(temps)
	for _, t := range temps {
		io.WriteString(w, t)
	}
	for _, a := range blocked(m) {
		fmt.Fprintf(w, " blocklist %v until %v\n", a, m.Blocklist[a].Std())
	}
}
