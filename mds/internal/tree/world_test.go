package tree

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sort"
	"sync"
	"testing"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/radostest"
	"github.com/spirula/spirula/rados/wire"
)

// world is what stands above a Tree: a journal, directories' inodes, and a
// model of what every directory, row and map must hold.
type world struct {
	t      testing.TB
	pool   *radostest.Pool
	client rados.Doer
	tree   *Tree
	mu     sync.Mutex
	o      Options

	journal []func(w *world, pos Pos) // position = index + 1
	trimmed Pos                       // events below are not replayed
	waited  Pos                       // the journal was waited for up to here
	begun   map[splitKey]bool         // splits without an end

	dirs  map[inode.Ino]*inode.Inode
	model map[inode.Ino]map[string]*inode.Dentry
	data  map[inode.Ino]map[string][]byte
	rows  map[inode.Ino]*inode.TableRow
	kvs   map[string][]byte

	nextIno inode.Ino
}

type splitKey struct {
	dir      inode.Ino
	from, to uint32
	at       string
}

const mapName = "u.test"

func newWorld(t testing.TB, o Options) *world {
	w := &world{t: t, pool: radostest.NewPool(), o: o, nextIno: 100}
	w.o.Epoch = 1
	w.reset()
	w.open(w.pool.NewClient())
	return w
}

func (w *world) reset() {
	w.begun = make(map[splitKey]bool)
	w.dirs = make(map[inode.Ino]*inode.Inode)
	w.model = make(map[inode.Ino]map[string]*inode.Dentry)
	w.data = make(map[inode.Ino]map[string][]byte)
	w.rows = make(map[inode.Ino]*inode.TableRow)
	w.kvs = make(map[string][]byte)
}

func (w *world) open(c rados.Doer) {
	w.client = c
	o := w.o
	o.Mu = &w.mu
	o.Dir = func(ino inode.Ino) (*inode.Inode, error) { return w.dirs[ino], nil }
	o.Durable = func(_ context.Context, pos Pos) error {
		w.mu.Lock()
		w.waited = max(w.waited, pos)
		w.mu.Unlock()
		w.trim() // at the worst of times: while entries are on their way
		return nil
	}
	o.SplitBegin = func(_ context.Context, s Split) error {
		w.sync(func(w *world, pos Pos) {
			in := w.dirs[s.Dir]
			dir := *in.Dir
			dir.NextFrag = max(dir.NextFrag, s.To+1)
			w.setDir(in, &dir)
			w.begun[splitKey{s.Dir, s.From, s.To, s.At}] = true
		})
		return nil
	}
	o.SplitEnd = func(_ context.Context, s Split) error {
		w.sync(func(w *world, pos Pos) {
			in := w.dirs[s.Dir]
			w.setDir(in, w.tree.ApplySplit(pos, in.Dir, s))
			delete(w.begun, splitKey{s.Dir, s.From, s.To, s.At})
		})
		return nil
	}
	o.BirthLogged = func(_ context.Context, ino inode.Ino) error {
		w.sync(func(w *world, pos Pos) {
			in := w.dirs[ino]
			dir := *in.Dir
			dir.BirthLog = true
			w.setDir(in, &dir)
		})
		return nil
	}
	w.tree = New(c, o)
}

func (w *world) setDir(in *inode.Inode, dir *inode.DirPart) {
	c := *in
	c.Dir = dir
	w.dirs[in.Ino] = &c
}

// do journals an event and applies it.
func (w *world) do(ev func(w *world, pos Pos)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.journal = append(w.journal, ev)
	ev(w, Pos(len(w.journal)))
}

// sync is do, and the event is durable afterwards.
func (w *world) sync(ev func(w *world, pos Pos)) {
	w.do(ev)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waited = Pos(len(w.journal))
}

// ask answers a question, loading what it misses.
func (w *world) ask(f func() error) error {
	for range 300 {
		w.mu.Lock()
		err := f()
		w.mu.Unlock()
		m, ok := AsMiss(err)
		if !ok {
			return err
		}
		if err := w.tree.Load(context.Background(), m); err != nil {
			return err
		}
	}
	m, _ := AsMiss(f())
	return fmt.Errorf("still missing after 10000 loads: %+v (splits %d)", m.wants, w.tree.splits)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) mkdir(ino inode.Ino) {
	w.sync(func(w *world, pos Pos) {
		w.tree.Born(ino)
		w.dirs[ino] = &inode.Inode{Ino: ino, Type: inode.Dir, Dir: NewDirPart(1, true)}
		w.model[ino] = make(map[string]*inode.Dentry)
		w.data[ino] = make(map[string][]byte)
	})
}

// put journals a dentry under a token; nil deletes. inline is what the
// dentry's file holds, if its kind says so.
func (w *world) put(ino inode.Ino, token string, d *inode.Dentry) {
	w.do(func(w *world, pos Pos) { w.apply(pos, ino, token, d) })
}

func (w *world) apply(pos Pos, ino inode.Ino, token string, d *inode.Dentry) {
	in := w.dirs[ino]
	dir := *in.Dir
	if _, had := w.model[ino][token]; had {
		dir.Entries--
	}
	if d == nil {
		delete(w.model[ino], token)
		delete(w.data[ino], token)
	} else {
		dir.Entries++
		dir.NextSeq = max(dir.NextSeq, d.Seq+1)
		w.model[ino][token] = d
		if !hasInline(d) {
			delete(w.data[ino], token)
		} else if d.Inode.Content.Inline != nil {
			w.data[ino][token] = d.Inode.Content.Inline
		}
	}
	w.setDir(in, &dir)
	w.tree.Put(pos, ino, token, d)
}

// crash loses up to the last lost events, as far as nobody waited for them,
// and replays the journal over what the pool holds, as the holder of epoch.
func (w *world) crash(epoch uint64, lost int) {
	w.t.Helper()
	w.mu.Lock()
	w.reset()
	w.o.Epoch = epoch
	w.open(w.pool.NewClient())
	w.tree.SetReplaying(true)
	real := w.tree
	// What lies below the trim point only makes the model again: the FS
	// would read it from the tree.
	w.tree = New(radostest.NewPool(), Options{Mu: &w.mu, Dir: func(inode.Ino) (*inode.Inode, error) { return nil, nil }})
	if lost > len(w.journal)-int(w.waited) {
		lost = len(w.journal) - int(w.waited)
	}
	w.journal = w.journal[:len(w.journal)-lost]
	if int(w.trimmed) > len(w.journal)+1 {
		w.t.Fatalf("trimmed up to %d, durable are %d", w.trimmed, len(w.journal))
	}
	for i, ev := range w.journal {
		if Pos(i+1) >= w.trimmed {
			w.tree = real
		}
		ev(w, Pos(i+1))
	}
	w.tree = real
	real.SetReplaying(false)
	begun := slices.Collect(maps.Keys(w.begun))
	w.mu.Unlock()
	for _, s := range begun {
		w.must(real.AbortSplit(context.Background(), Split{Dir: s.dir, From: s.from, To: s.to, At: s.at}))
	}
}

// trim drops from the journal what is written back.
func (w *world) trim() {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, dirty := w.tree.OldestDirty()
	if !dirty {
		p = max(w.trimmed, Pos(len(w.journal)+1))
	}
	if p < w.trimmed {
		w.t.Fatalf("OldestDirty went back from %d to %d", w.trimmed, p)
	}
	w.trimmed = p
}

func sameDentry(a, b *inode.Dentry) bool {
	if a == nil || b == nil {
		return a == b
	}
	return bytes.Equal(inode.AppendDentry(nil, a, false), inode.AppendDentry(nil, b, false))
}

// check compares everything that can be asked with the model.
func (w *world) check() {
	w.t.Helper()
	for _, ino := range slices.Sorted(maps.Keys(w.dirs)) {
		w.checkDir(ino)
	}
	for n, want := range w.rows {
		var got *inode.TableRow
		w.must(w.ask(func() (err error) { got, _, err = w.tree.Row(n); return err }))
		if got == nil || got.Refs != want.Refs {
			w.t.Fatalf("row %d is %+v, want %+v", n, got, want)
		}
	}
	from, seen := "", 0
	for {
		var key string
		var val []byte
		w.must(w.ask(func() (err error) { key, val, err = w.tree.MapNext(mapName, from, false); return err }))
		if val == nil {
			break
		}
		if want := w.kvs[key]; !bytes.Equal(want, val) {
			w.t.Fatalf("map key %q is %q, want %q", key, val, want)
		}
		from = key
		seen++
	}
	if seen != len(w.kvs) {
		w.t.Fatalf("the map has %d keys, want %d", seen, len(w.kvs))
	}
}

func (w *world) checkDir(ino inode.Ino) {
	w.t.Helper()
	model := w.model[ino]
	tokens := slices.Sorted(maps.Keys(model))
	var got []string
	from, incl := "", true
	for {
		var token string
		var d *inode.Dentry
		w.must(w.ask(func() (err error) { token, d, err = w.tree.Next(w.dirs[ino], from, incl); return err }))
		if d == nil {
			break
		}
		if want := model[token]; !sameDentry(want, d) {
			w.t.Fatalf("dir %d %q: Next gives %+v, want %+v", ino, token, d, want)
		}
		got = append(got, token)
		from, incl = token, false
	}
	if !slices.Equal(tokens, got) {
		w.t.Fatalf("dir %d has %q, want %q (frags %v)", ino, got, tokens, w.dirs[ino].Dir.Frags)
	}
	for _, token := range tokens {
		w.checkToken(ino, token)
	}
	w.checkReadDir(ino)
}

func (w *world) checkToken(ino inode.Ino, token string) {
	w.t.Helper()
	want := w.model[ino][token]
	var d *inode.Dentry
	w.must(w.ask(func() (err error) { d, _, err = w.tree.Get(w.dirs[ino], token); return err }))
	if !sameDentry(want, d) {
		w.t.Fatalf("dir %d %q: Get gives %+v, want %+v", ino, token, d, want)
	}
	var data []byte
	w.must(w.ask(func() (err error) { data, err = w.tree.Inline(w.dirs[ino], token); return err }))
	if !bytes.Equal(data, w.data[ino][token]) {
		w.t.Fatalf("dir %d %q: inline data is %q, want %q", ino, token, data, w.data[ino][token])
	}
}

func (w *world) checkReadDir(ino inode.Ino) {
	w.t.Helper()
	type line struct {
		seq   uint64
		token string
		ino   inode.Ino
	}
	var want, got []line
	for token, d := range w.model[ino] {
		want = append(want, line{d.Seq, token, d.Ino})
	}
	sort.Slice(want, func(i, j int) bool { return want[i].seq < want[j].seq })
	after, eof := uint64(2), false
	for !eof {
		var page []Entry
		w.must(w.ask(func() (err error) { page, eof, err = w.tree.ReadDir(w.dirs[ino], after, 7); return err }))
		for _, e := range page {
			got = append(got, line{e.Seq, e.Token, e.Ino})
			after = e.Seq
		}
	}
	if !slices.Equal(want, got) {
		w.t.Fatalf("dir %d: READDIR gives %v, want %v (birth log %v)", ino, got, want, w.dirs[ino].Dir.BirthLog)
	}
}

// actor makes random changes.
type actor struct {
	*rand.Rand
	w     *world
	names int
}

func (a *actor) token() string {
	s := fmt.Sprintf("n%0*d", 1+a.IntN(2), a.IntN(a.names))
	if a.IntN(4) == 0 {
		s += "/"
	}
	if a.IntN(50) == 0 {
		return ""
	}
	return s
}

func (a *actor) dentry(seq uint64) *inode.Dentry {
	a.w.nextIno++
	in := &inode.Inode{Ino: a.w.nextIno, Type: inode.Reg, Size: a.Uint64(), Content: inode.Content{Kind: inode.Plain, Stream: a.Uint64()}}
	switch a.IntN(4) {
	case 0:
		in.Content = inode.Content{Kind: inode.Inline, Inline: []byte(fmt.Sprint("data", a.Uint32()))}
	case 1:
		in.S3 = &inode.S3Part{ETag: fmt.Sprint(a.Uint64())}
	}
	return &inode.Dentry{Seq: seq, Type: inode.Reg, Ino: in.Ino, Inode: in}
}

func (a *actor) step() {
	w := a.w
	inos := slices.Sorted(maps.Keys(w.dirs))
	ino := inos[a.IntN(len(inos))]
	token := a.token()
	var old *inode.Dentry
	w.must(w.ask(func() (err error) { old, _, err = w.tree.Get(w.dirs[ino], token); return err }))
	if !sameDentry(old, w.model[ino][token]) {
		w.t.Fatalf("dir %d %q is %+v, want %+v", ino, token, old, w.model[ino][token])
	}
	switch k := a.IntN(20); {
	case old == nil && k < 15:
		w.put(ino, token, a.dentry(w.dirs[ino].Dir.NextSeq))
	case old == nil:
	case k < 3:
		w.put(ino, token, nil)
	case k < 6: // PUT over it: another inode, the same birth number
		w.put(ino, token, a.dentry(old.Seq))
	case k < 10: // chmod
		c, in := *old, *old.Inode
		in.Mode, in.Content.Inline = a.Uint32(), nil
		c.Inode = &in
		w.put(ino, token, &c)
	case k < 17:
		a.rename(ino, token, old, inos[a.IntN(len(inos))])
	}
	switch a.IntN(12) {
	case 0:
		n, refs := inode.Ino(a.IntN(3)<<rowShift+a.IntN(20)), a.Uint64()
		w.do(func(w *world, pos Pos) {
			w.rows[n] = &inode.TableRow{Kind: inode.RowRefs, Refs: refs}
			w.tree.PutRow(pos, n, w.rows[n])
		})
	case 1:
		key, val := fmt.Sprint("k", a.IntN(50)), []byte(fmt.Sprint(a.Uint32()))
		if a.IntN(3) == 0 {
			val = nil
		}
		w.do(func(w *world, pos Pos) {
			if w.kvs[key] = val; val == nil {
				delete(w.kvs, key)
			}
			w.tree.MapPut(pos, mapName, key, val)
		})
	}
}

// rename moves an entry, in one event, as package mds does.
func (a *actor) rename(ino inode.Ino, token string, old *inode.Dentry, to inode.Ino) {
	w := a.w
	target := a.token()
	if to == ino && target == token {
		return
	}
	var data []byte
	w.must(w.ask(func() (err error) { data, err = w.tree.Inline(w.dirs[ino], token); return err }))
	var there *inode.Dentry
	w.must(w.ask(func() (err error) { there, _, err = w.tree.Get(w.dirs[to], target); return err }))
	c, in := *old, *old.Inode
	in.Content.Inline = data
	c.Inode = &in
	switch {
	case to != ino && there != nil:
		c.Seq = there.Seq
	case to != ino:
		c.Seq = w.dirs[to].Dir.NextSeq
	}
	w.do(func(w *world, pos Pos) {
		w.apply(pos, ino, token, nil)
		w.apply(pos, to, target, &c)
	})
}

func (w *world) flush(upTo Pos) error { return w.tree.Flush(context.Background(), upTo) }

func (w *world) end() Pos {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Pos(len(w.journal))
}

var small = Options{CacheBytes: 24 << 10, SplitEntries: 12, SplitBytes: 8 << 10, BirthLogEntries: 40}

// TestRandom: changes, write-back, eviction and clean restarts against the
// model.
func TestRandom(t *testing.T) {
	for seed := range uint64(8) {
		w := newWorld(t, small)
		a := &actor{rand.New(rand.NewPCG(seed, 21)), w, 100}
		for ino := inode.Ino(10); ino < 13; ino++ {
			w.mkdir(ino)
		}
		for i := range 1500 {
			func() {
				defer func() {
					if t.Failed() {
						t.Logf("seed %d step %d", seed, i)
					}
				}()
				a.step()
				switch a.IntN(60) {
				case 0:
					w.must(w.flush(w.trimmed + Pos(a.Uint64N(uint64(w.end()-w.trimmed)+2))))
					w.trim()
				case 1:
					w.must(w.flush(w.end()))
					w.trim()
					if p, dirty := w.tree.OldestDirty(); dirty {
						t.Fatalf("still dirty at %d of %d after a flush of all", p, w.end())
					}
				case 2:
					w.check()
				case 3:
					w.crash(w.o.Epoch+1, a.IntN(40))
				}
			}()
		}
		w.check()
		if n := w.tree.dirtyBytes; n < 0 {
			t.Fatalf("dirty bytes %d", n)
		}
		w.must(w.flush(w.end()))
		if n := w.tree.dirtyBytes; n != 0 {
			t.Fatalf("seed %d: %d dirty bytes after a flush of all", seed, n)
		}
		w.trim()
		w.crash(w.o.Epoch+1, 0)
		w.check()
		w.auditHeaders()
	}
}

// auditHeaders: fragments hold only their own range, and their headers never
// say less than there is.
func (w *world) auditHeaders() {
	w.t.Helper()
	for ino, in := range w.dirs {
		var frags []inode.Frag
		w.must(w.ask(func() (err error) { frags, err = w.tree.fragsOf(in); return err }))
		for i, f := range frags {
			r, err := w.client.Do(context.Background(), &rados.Op{Object: fragObject(ino, f.Num), Ops: []wire.Op{
				{Code: wire.OpOmapGetHeader},
				{Code: wire.OpOmapGetVals, Name2: classDentry, Num: pageKeys},
				{Code: wire.OpOmapGetVals, Name2: classInline, Num: pageKeys}}})
			if wire.ErrnoOf(err) == wire.ENOENT {
				continue
			}
			w.must(err)
			_, n, _, err := decodeHeader(r.Results[0].Value)
			w.must(err)
			dentries, inlines := r.Results[1].KVs, r.Results[2].KVs
			if n < int64(len(dentries)) {
				w.t.Fatalf("dir %d fragment %d has %d entries, its header says %d", ino, f.Num, len(dentries), n)
			}
			for _, kv := range append(dentries, inlines...) {
				k := kv.Key[1:]
				if k < f.First || fragEnd(frags, i) != "" && k >= fragEnd(frags, i) {
					w.t.Fatalf("dir %d fragment %d [%q, %q) holds %q", ino, f.Num, f.First, fragEnd(frags, i), kv.Key)
				}
				if _, ok := w.data[ino][k]; !ok && kv.Key[:1] == classInline {
					w.t.Fatalf("dir %d fragment %d holds inline data for %q, which has none", ino, f.Num, k)
				}
			}
		}
	}
}
