package pg

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/osd/store/storetest"
	"github.com/spirula/spirula/rados/wire"
)

// world is a PG on several OSDs, a mon that decides about maps, and clients,
// run one event at a time in an order that a seed gives. OSDs crash and lose
// what is not on stable storage, messages between two OSDs are delayed but
// keep their order, links break, OSDs are wrongly called down, the PG is
// placed elsewhere.
type world struct {
	t     *testing.T
	seed  uint64
	rng   *rand.Rand
	nodes []*simNode
	links map[[2]int32][]Message
	maps  []*simMap // by epoch
	size  int
	min   int

	objects []*simObject
	tid     uint64
	trace   []string
	hash    uint64
	calm    int  // events between two of the mon's, on average
	quiet   bool // no more faults
	keep    bool
	served  int
	clean   int
	counts  map[string]int
}

// simMap is one epoch.
type simMap struct {
	epoch          wire.Epoch
	up             []bool
	upFrom, upThru []wire.Epoch
	order          []int32 // placement: the first size of those that are up
	temp           []int32
}

func (m *simMap) IsUp(o int32) bool         { return m.up[o] }
func (m *simMap) UpFrom(o int32) wire.Epoch { return m.upFrom[o] }
func (m *simMap) UpThru(o int32) wire.Epoch { return m.upThru[o] }
func (m *simMap) LostAt(int32) wire.Epoch   { return 0 }
func (m *simMap) MaxOSD() int32             { return int32(len(m.up)) }
func (w *world) cur() *simMap               { return w.maps[len(w.maps)-1] }
func (w *world) interval(m *simMap) Interval {
	i := Interval{Primary: -1, MinSize: w.min, Size: w.size, PGNum: 1, Exists: true, Temp: len(m.temp) > 0}
	for _, o := range m.order {
		if m.up[o] && len(i.Up) < w.size {
			i.Up = append(i.Up, o)
		}
	}
	for _, o := range m.temp {
		if m.up[o] {
			i.Acting = append(i.Acting, o)
		}
	}
	if len(i.Acting) == 0 {
		i.Acting = i.Up
	}
	if len(i.Acting) > 0 {
		i.Primary = i.Acting[0]
	}
	return i
}

// change makes the next epoch.
func (w *world) change(fn func(m *simMap)) {
	c := w.cur()
	m := &simMap{epoch: c.epoch + 1, up: slices.Clone(c.up), upFrom: slices.Clone(c.upFrom),
		upThru: slices.Clone(c.upThru), order: slices.Clone(c.order), temp: slices.Clone(c.temp)}
	fn(m)
	w.maps = append(w.maps, m)
	w.note("map %d up %v order %v temp %v thru %v", m.epoch, m.up, m.order, m.temp, m.upThru)
}

// simObject is an object and what its one client did: a client sends one
// write at a time, again until it is answered.
type simObject struct {
	id    wire.HObject
	acked string
	next  *simOp
	n     int
	snap  wire.SnapID
}

type simOp struct {
	o     *simObject
	req   wire.ReqID
	token string
	del   bool
	clone bool
	snap  wire.SnapID
	since int // writes answered before it
}

type simWrite struct {
	Write
	op      *simOp
	tx      *store.Txn
	objects store.Txn
}

func newWorld(t *testing.T, seed uint64, osds, size, min int) *world {
	w := &world{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 77)), links: map[[2]int32][]Message{}, size: size, min: min,
		counts: map[string]int{}}
	m := &simMap{epoch: 1, up: make([]bool, osds), upFrom: make([]wire.Epoch, osds), upThru: make([]wire.Epoch, osds)}
	for i := range osds {
		m.order = append(m.order, int32(i))
		w.nodes = append(w.nodes, &simNode{w: w, id: int32(i), mem: newModel(), dsk: newModel()})
	}
	w.calm = []int{20, 60, 200, 500}[w.rng.IntN(4)]
	w.rng.Shuffle(osds, func(i, j int) { m.order[i], m.order[j] = m.order[j], m.order[i] })
	w.maps = []*simMap{nil, m}
	for i := range 5 {
		w.objects = append(w.objects, &simObject{id: wire.HObject{Pool: 3, Hash: uint32(i) * 0x10000001, Name: fmt.Sprint("o", i), Snap: wire.NoSnap}})
	}
	for _, n := range w.nodes {
		n.start()
	}
	return w
}

func newModel() *storetest.Model { return storetest.NewModel(storetest.ModelOptions{Inline: true}) }

func (w *world) note(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	h := fnv.New64a()
	fmt.Fprintf(h, "%x %s", w.hash, s)
	w.hash = h.Sum64()
	if w.keep {
		w.trace = append(w.trace, s)
	}
}

func (w *world) fatalf(format string, args ...any) {
	w.t.Helper()
	if !w.keep {
		again := newWorld(w.t, w.seed, len(w.nodes), w.size, w.min)
		again.keep = true
		again.run()
		w.trace = again.trace
	}
	for _, s := range w.trace[max(0, len(w.trace)-400):] {
		w.t.Log(s)
	}
	w.t.Fatalf("seed %d (SPIRULA_PG_SEED): %s", w.seed, fmt.Sprintf(format, args...))
}

// client has an object's client send its write, for the first time or again.
func (w *world) client() {
	o := w.objects[w.rng.IntN(len(w.objects))]
	if o.next == nil {
		// The log remembers a request only so long.
		if w.quiet || slices.ContainsFunc(w.objects, func(p *simObject) bool { return p.next != nil && w.served > p.next.since+4 }) {
			return
		}
		o.n++
		w.tid++
		o.next = &simOp{o: o, req: req(w.tid), token: fmt.Sprintf("%d.", o.n), since: w.served, del: w.rng.IntN(8) == 0, clone: w.rng.IntN(4) == 0}
		if o.next.clone {
			o.snap++
		}
		o.next.snap = o.snap
	}
	epoch := w.cur().epoch
	if w.rng.IntN(10) == 0 {
		epoch = max(1, epoch-1)
	}
	p := w.interval(w.maps[epoch]).Primary
	if p < 0 {
		return
	}
	n := w.nodes[p]
	if !n.serving() || n.core == nil || n.epoch < epoch || n.submit != nil {
		return
	}
	wr := &simWrite{op: o.next}
	wr.Owner, wr.ReqID = wr, o.next.req
	n.with(func(f *Effects) {
		v, d := n.core.Admit(Ask{Epoch: epoch, Write: &wr.Write, Object: o.id}, f)
		w.note("client %s %s to osd.%d: %d", o.id.Name, o.next.token, p, v)
		switch v {
		case Run:
			n.write(wr)
		case Answer:
			_ = d
			wr.answered(n)
		case Wait:
			w.counts["wait"]++
		}
	})
}

// write executes a write at the primary: the token is appended to what the
// object holds.
func (n *simNode) write(wr *simWrite) {
	o := wr.op.o.id
	was := n.version(o)
	e := Entry{Kind: KindModify, Object: o, Version: n.core.Next(), Prior: was, ReqID: wr.ReqID}
	t := &store.Txn{}
	switch {
	case wr.op.del:
		e.Kind = KindDelete
		for _, id := range n.parts(o) {
			t.Remove(id)
		}
		if (was == wire.EVersion{}) {
			e.Kind = KindResult
		}
	default:
		if wr.op.clone && (was != wire.EVersion{}) {
			c := o
			c.Snap = wr.op.snap
			t.Clone(simID(o), simID(c))
		}
		d, _ := n.mem.Read(simID(o), 0, 1<<20)
		t.Write(simID(o), 0, wire.DataOf([]byte(string(d.Bytes())+wr.op.token)))
		t.SetXattrs(simID(o), wire.KV{Key: "_", Value: []byte(e.Version.String())})
	}
	wr.Entry = e
	wr.objects = store.Txn{Ops: slices.Clone(t.Ops)}
	wr.tx = t
	n.core.Submit(&wr.Write, t)
	n.submit = wr
}

// queued is the store taking the submitted write.
func (n *simNode) queued() bool {
	wr := n.submit
	if wr == nil {
		return false
	}
	n.submit = nil
	if n.w.rng.IntN(20) == 0 {
		n.core.Abort(&wr.Write)
		return true
	}
	core := n.core
	n.queue(wr.tx, func(f *Effects) {
		if n.core == core {
			core.Committed(&wr.Write, f)
		}
	})
	n.with(func(f *Effects) { core.Queued(&wr.Write, wr.objects, f) })
	return true
}

func (wr *simWrite) answered(n *simNode) {
	o := wr.op.o
	if wr.Forgotten() && len(wr.Joined) == 0 || o.next != wr.op {
		return
	}
	n.w.note("answered %s %s", o.id.Name, wr.op.token)
	n.w.served++
	if wr.op.del {
		o.acked = ""
	} else {
		o.acked += wr.op.token
	}
	o.next = nil
}

// read has a client read an object at a primary that has the newest map.
func (w *world) read() {
	o := w.objects[w.rng.IntN(len(w.objects))]
	p := w.interval(w.cur()).Primary
	if p < 0 {
		return
	}
	n := w.nodes[p]
	if !n.serving() || n.core == nil || n.epoch != w.cur().epoch || n.submit != nil {
		return
	}
	n.with(func(f *Effects) {
		v, _ := n.core.Admit(Ask{Epoch: n.epoch, Object: o.id}, f)
		if v != Run || n.core.InFlight() > 0 {
			return
		}
		d, _ := n.mem.Read(simID(o.id), 0, 1<<20)
		got := string(d.Bytes())
		after := o.acked
		if o.next != nil && o.next.del {
			after = ""
		} else if o.next != nil {
			after += o.next.token
		}
		if got != o.acked && got != after {
			w.fatalf("read of %s at osd.%d: %q, answered %q, then perhaps %q", o.id.Name, n.id, got, o.acked, after)
		}
	})
}

// event does one thing; false: there was nothing to do of the kind drawn.
func (w *world) event() bool {
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	if w.rng.IntN(w.calm) == 0 {
		return w.monEvent(n)
	}
	switch k := w.rng.IntN(96); {
	case k < 30:
		return w.deliver()
	case k < 50:
		if !n.running || len(n.commits) == 0 {
			return false
		}
		c := n.commits[0]
		n.commits = n.commits[1:]
		n.apply(n.dsk, c.t)
		n.with(c.done)
	case k < 60:
		if !n.running || n.epoch >= w.cur().epoch || n.submit != nil && w.rng.IntN(4) > 0 {
			return false
		}
		n.advance(w.maps[n.epoch+1])
	case k < 68:
		if len(n.self) == 0 || !n.running {
			return false
		}
		m := n.self[0]
		n.self = n.self[1:]
		if n.core != nil {
			n.handle(m)
		}
	case k < 76:
		return n.running && n.work()
	case k < 82:
		return n.running && n.core != nil && n.queued()
	case k < 91:
		w.client()
	case k < 94:
		w.read()
	default:
		if n.serving() && n.core != nil {
			n.with(n.core.Tick)
		}
	}
	return true
}

func (w *world) monEvent(n *simNode) bool {
	cur := w.cur()
	up := 0
	for _, u := range cur.up {
		if u {
			up++
		}
	}
	switch k := w.rng.IntN(10); {
	case !n.running && cur.up[n.id]:
		w.change(func(m *simMap) { m.up[n.id] = false })
	case !n.running:
		if w.rng.IntN(3) > 0 && !w.quiet {
			return false
		}
		w.note("osd.%d starts", n.id)
		n.start()
	case n.boot == 0 && cur.up[n.id]: // the incarnation before
		w.change(func(m *simMap) { m.up[n.id] = false })
	case n.boot == 0 || n.epoch >= n.boot && !w.maps[n.epoch].up[n.id] && !cur.up[n.id]:
		w.change(func(m *simMap) { m.up[n.id], m.upFrom[n.id] = true, m.epoch })
		n.boot = w.cur().epoch
	case w.quiet:
		return false
	case k < 3:
		w.note("osd.%d crashes", n.id)
		w.counts["crash"]++
		n.crash()
	case k < 5 && up > 1:
		w.note("osd.%d is called down", n.id)
		w.change(func(m *simMap) { m.up[n.id] = false })
	case k < 7:
		w.change(func(m *simMap) {
			i, j := w.rng.IntN(len(m.order)), w.rng.IntN(len(m.order))
			m.order[i], m.order[j] = m.order[j], m.order[i]
		})
	case k < 8: // a session is lost with what was on it
		p := w.nodes[w.rng.IntN(len(w.nodes))]
		if p == n || !p.running {
			return false
		}
		w.note("session of %d and %d", n.id, p.id)
		delete(w.links, [2]int32{n.id, p.id})
		delete(w.links, [2]int32{p.id, n.id})
		if n.core != nil {
			n.with(func(f *Effects) { n.core.PeerReset(p.id, f) })
		}
		if p.core != nil {
			p.with(func(f *Effects) { p.core.PeerReset(n.id, f) })
		}
	default:
		return false
	}
	return true
}

// deliver hands over the oldest message of one random link.
func (w *world) deliver() bool {
	var links [][2]int32
	for from := range int32(len(w.nodes)) {
		for to := range int32(len(w.nodes)) {
			if k := [2]int32{from, to}; len(w.links[k]) > 0 {
				links = append(links, k)
			}
		}
	}
	if len(links) == 0 {
		return false
	}
	k := links[w.rng.IntN(len(links))]
	m := w.links[k][0]
	w.links[k] = w.links[k][1:]
	n := w.nodes[k[1]]
	w.note("%d to %d: %s %s", k[0], k[1], strings.TrimPrefix(fmt.Sprintf("%T", m), "*pg."), brief(m))
	if n.serving() || n.running && n.boot != 0 {
		n.handle(m)
	}
	return true
}

func brief(m Message) string {
	switch m := m.(type) {
	case *RepOp:
		return fmt.Sprint(m.Entry.Version, m.Entry.Object.Name, len(m.Txn.Ops))
	case *RepAck:
		return m.Version.String()
	case *Notify:
		return fmt.Sprint(m.Info.Held, m.Info.LastUpdate, m.Info.LastStarted, m.Info.Backfilled.Name, m.Info.Past)
	case *Activate:
		if m.Reset {
			return fmt.Sprint("reset ", m.Since, len(m.Entries))
		}
		return fmt.Sprint(m.Since, len(m.Entries), m.Reset)
	case *Activated:
		return fmt.Sprint(len(m.Missing), m.Refused)
	case *Push:
		return fmt.Sprint(m.Object.Name, m.Version, len(m.Parts), m.Pull, m.Failed)
	case *PushAck:
		return m.Object.Name
	}
	return ""
}

// done reports whether the PG is clean, every client is answered and nothing
// is under way.
func (w *world) done() bool {
	for _, o := range w.objects {
		if o.next != nil {
			return false
		}
	}
	m := w.cur()
	p := w.interval(m).Primary
	if p < 0 || w.nodes[p].core == nil || !w.nodes[p].core.Clean() {
		return false
	}
	if len(m.temp) > 0 {
		return false
	}
	for _, n := range w.nodes {
		if !n.serving() || n.epoch != m.epoch || len(n.commits)+len(n.self)+len(n.works) > 0 || n.submit != nil {
			return false
		}
	}
	for _, l := range w.links {
		if len(l) > 0 {
			return false
		}
	}
	return true
}

func (w *world) run() {
	for range 4000 {
		w.event()
	}
	w.quiet = true
	w.calm = 20
	for i := 0; !w.done(); i++ {
		if i > 60000 {
			w.stuck()
			return
		}
		w.event()
	}
	w.compare()
}

func (w *world) stuck() {
	w.note("STUCK")
	if !w.keep {
		w.fatalf("the pg is stuck")
	}
	for _, n := range w.nodes {
		if n.core != nil {
			c := n.core
			w.note("osd.%d serving %v map %d %s phase %d since %d lu %v les %d missing %d backfilled %v stable %v lacking %d running %d unfound %d todo %d target %+v infos %+v wait %v interval %+v blocked %v hist %+v",
				n.id, n.serving(), n.epoch, c.State(), c.phase, c.since, c.log.head(), c.lastStarted, len(c.missing), c.backfilled, c.stable(), c.lacking, len(c.running), len(c.unfound), len(c.todo), c.target, c.infos, c.waitInfo, c.interval, c.blockedBy, c.history)
		} else {
			w.note("osd.%d serving %v map %d no pg", n.id, n.serving(), n.epoch)
		}
	}
}

// compare checks that nothing answered was lost and that all copies are
// equal.
func (w *world) compare() {
	i := w.interval(w.cur())
	p := w.nodes[i.Primary]
	for _, o := range w.objects {
		d, _ := p.mem.Read(simID(o.id), 0, 1<<20)
		if got := string(d.Bytes()); got != o.acked {
			w.note("BAD %s: %q, answered %q", o.id.Name, got, o.acked)
			if !w.keep {
				w.fatalf("%s holds %q, answered was %q", o.id.Name, got, o.acked)
			}
			return
		}
	}
	want := contents(w.t, p.mem)
	for _, o := range i.Acting {
		if got := contents(w.t, w.nodes[o].mem); !slices.Equal(got, want) {
			w.note("DIFFER %v %v", got, want)
			if !w.keep {
				w.fatalf("osd.%d has\n%s\nosd.%d has\n%s", i.Primary, strings.Join(want, "\n"), o, strings.Join(got, "\n"))
			}
			return
		}
		if n := len(w.nodes[o].core.missing); n > 0 {
			w.fatalf("osd.%d misses %d objects of a clean pg", o, n)
		}
	}
}

// contents gives objects and log rows as text.
func contents(t *testing.T, m *storetest.Model) []string {
	var out []string
	for _, s := range dump(t, m) {
		if !strings.HasPrefix(s, `"h"`) && !strings.HasPrefix(s, `"i"`) && !strings.HasPrefix(s, `"l`) {
			out = append(out, s)
		}
	}
	return out
}

// TestWorld runs many seeds. SPIRULA_PG_SEEDS says how many more,
// SPIRULA_PG_SEED runs one.
func TestWorld(t *testing.T) {
	seeds := 150
	if s := os.Getenv("SPIRULA_PG_SEEDS"); s != "" {
		seeds, _ = strconv.Atoi(s)
	}
	first := uint64(0)
	if s := os.Getenv("SPIRULA_PG_SEED"); s != "" {
		first, _ = strconv.ParseUint(s, 10, 64)
		seeds = 1
	}
	served, clean := 0, 0
	counts := map[string]int{}
	for seed := first; seed < first+uint64(seeds); seed++ {
		sizes := [][3]int{{3, 3, 2}, {4, 3, 2}, {5, 3, 2}, {3, 2, 1}, {4, 2, 2}, {2, 1, 1}, {5, 3, 1}}
		s := sizes[seed%uint64(len(sizes))]
		w := newWorld(t, seed, s[0], s[1], s[2])
		w.run()
		if seed%10 == 0 {
			again := newWorld(t, seed, s[0], s[1], s[2])
			again.run()
			if again.hash != w.hash {
				t.Fatalf("seed %d: two runs differ", seed)
			}
		}
		served += w.served
		clean += w.clean
		for k, v := range w.counts {
			counts[k] += v
		}
	}
	t.Logf("%d writes answered, clean %d times, %v", served, clean, counts)
	if seeds > 10 && (served < 5*seeds || clean < seeds || counts["removed"] == 0 || counts["wait"] == 0) {
		t.Fatalf("%d writes answered, clean %d times, %v: the simulation does not do what it should", served, clean, counts)
	}
}
