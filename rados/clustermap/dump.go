package clustermap

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spirula/spirula/rados/wire"
)

// Dump writes the map as text, in the form of "osd dump" and osdmaptool
// --print.
func (m *OSDMap) Dump(w io.Writer) error {
	var b []byte
	f := func(format string, args ...any) { b = fmt.Appendf(b, format, args...) }
	f("epoch %d\nfsid %s\ncreated %s\nmodified %s\n", m.Epoch, m.FSID, stamp(m.Created), stamp(m.Modified))
	f("flags %s\ncrush_version %d\n", strings.Join(m.Flags.FlagNames(), ","), m.CrushVersion)
	f("full_ratio %s\nbackfillfull_ratio %s\nnearfull_ratio %s\n", short(float64(m.FullRatio)),
		short(float64(m.BackfillFullRatio)), short(float64(m.NearFullRatio)))
	if m.RequireMinCompat > 0 {
		f("require_min_compat_client %s\n", ReleaseName(m.RequireMinCompat))
	}
	f("min_compat_client %s\n", ReleaseName(m.MinCompatClient()))
	if m.RequireRelease > 0 {
		f("require_osd_release %s\n", ReleaseName(m.RequireRelease))
	}
	f("stretch_mode_enabled false\n")
	if m.Snapshot != "" {
		f("cluster_snapshot %s\n", m.Snapshot)
	}
	f("\n")
	for _, id := range sortedKeys(m.Pools) {
		m.Pools[id].dump(f, id, m.PoolNames[id])
		if q := m.RemovedSnapsQueue[id]; len(q) > 0 {
			f("\tremoved_snaps_queue %s\n", q)
		}
	}
	f("\nmax_osd %d\n", m.MaxOSD())
	for i := range m.OSDs {
		if m.Exists(int32(i)) {
			m.OSDs[i].dump(f, i)
		}
	}
	f("\n")
	m.dumpPGs(f)
	_, err := w.Write(b)
	return err
}

// short is a number with six digits, as C++ streams print it.
func short(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

// String prints the set as Ceph does: start~length in hex.
func (s SnapSet) String() string {
	parts := make([]string, len(s))
	for i, r := range s {
		parts[i] = fmt.Sprintf("%x~%x", uint64(r.Start), r.Len)
	}
	return "[" + strings.Join(parts, ",") + "]"
}

func (p *Pool) dump(f func(string, ...any), id int64, name string) {
	kind := "replicated"
	if !p.IsReplicated() {
		kind = "erasure profile " + p.ECProfile
	}
	hash := "rjenkins"
	if p.ObjectHash == HashLinux {
		hash = "linux"
	}
	f("pool %d '%s' %s size %d min_size %d crush_rule %d object_hash %s pg_num %d pgp_num %d", id, name, kind, p.Size,
		p.MinSize, p.CrushRule, hash, p.PGNum, p.PGPNum)
	if p.PGNumTarget != p.PGNum {
		f(" pg_num_target %d", p.PGNumTarget)
	}
	if p.PGPNumTarget != p.PGPNum {
		f(" pgp_num_target %d", p.PGPNumTarget)
	}
	if p.PGNumPending != p.PGNum {
		f(" pg_num_pending %d", p.PGNumPending)
	}
	f(" autoscale_mode %s last_change %d", nameOf(autoscaleNames, p.AutoscaleMode), p.LastChange)
	if p.LastForceResend|p.LastForceResendPreNautilus|p.LastForceResendPreLuminous != 0 {
		f(" lfor %d/%d/%d", p.LastForceResend, p.LastForceResendPreNautilus, p.LastForceResendPreLuminous)
	}
	if p.Flags != 0 {
		f(" flags %s", strings.Join(p.Flags.FlagNames(), ","))
	}
	if p.QuotaMaxBytes > 0 {
		f(" max_bytes %d", p.QuotaMaxBytes)
	}
	if p.QuotaMaxObjects > 0 {
		f(" max_objects %d", p.QuotaMaxObjects)
	}
	f(" stripe_width %d", p.StripeWidth)
	if p.ExpectedObjects > 0 {
		f(" expected_num_objects %d", p.ExpectedObjects)
	}
	if p.FastRead {
		f(" fast_read 1")
	}
	for name, o := range p.sortedOpts() {
		switch o.Kind {
		case 0:
			f(" %s %s", name, o.Str)
		case 1:
			f(" %s %d", name, o.Int)
		case 2:
			f(" %s %s", name, short(o.Float))
		}
	}
	if len(p.Applications) > 0 {
		f(" application %s", strings.Join(sortedKeys(p.Applications), ","))
	}
	f("\n")
	for _, id := range sortedKeys(p.Snaps) {
		s := p.Snaps[id]
		f("\tsnap %d '%s' %s\n", s.ID, s.Name, stamp(s.Stamp))
	}
}

func (o *OSD) dump(f func(string, ...any), id int) {
	up, in := "down", "out"
	if o.State&StateUp != 0 {
		up = "up  "
	}
	if o.Weight > 0 {
		in = "in "
	}
	f("osd.%d %s %s weight %s", id, up, in, short(float64(o.Weight)/65536))
	if o.Affinity != WeightIn {
		f(" primary_affinity %s", short(float64(o.Affinity)/65536))
	}
	i := o.Info
	f(" up_from %d up_thru %d down_at %d last_clean_interval [%d,%d) %s %s %s", i.UpFrom, i.UpThru, i.DownAt,
		i.LastCleanBegin, i.LastCleanEnd, addrList(o.Client), addrList(o.Cluster), strings.Join(o.State.StateNames(), ","))
	if o.UUID != (wire.FSID{}) {
		f(" %s", o.UUID)
	}
	f("\n")
}

// addrList prints addresses: several in brackets.
func addrList(v []wire.Addr) string {
	parts := make([]string, len(v))
	for i, a := range v {
		parts[i] = strings.TrimPrefix(a.String(), "any:")
	}
	s := strings.Join(parts, ",")
	if len(v) > 1 {
		return "[" + s + "]"
	}
	return s
}

func listText(v []int32) string {
	return "[" + strings.ReplaceAll(strings.Trim(fmt.Sprint(v), "[]"), " ", ",") + "]"
}

func (m *OSDMap) dumpPGs(f func(string, ...any)) {
	for _, pg := range sortedPGs(m.Upmap) {
		f("pg_upmap %s %s\n", pg, listText(m.Upmap[pg]))
	}
	for _, pg := range sortedPGs(m.UpmapItems) {
		var v []int32
		for _, p := range m.UpmapItems[pg] {
			v = append(v, p.From, p.To)
		}
		f("pg_upmap_items %s %s\n", pg, listText(v))
	}
	for _, pg := range sortedPGs(m.PGTemp) {
		f("pg_temp %s %s\n", pg, listText(m.PGTemp[pg]))
	}
	for _, pg := range sortedPGs(m.PrimaryTemp) {
		f("primary_temp %s %d\n", pg, m.PrimaryTemp[pg])
	}
	addrs := make([]wire.Addr, 0, len(m.Blocklist))
	for a := range m.Blocklist {
		addrs = append(addrs, a)
	}
	for _, a := range sortedAddrs(addrs) {
		f("blocklist %s expires %s\n", strings.TrimPrefix(a.String(), "any:"), stamp(m.Blocklist[a]))
	}
}
