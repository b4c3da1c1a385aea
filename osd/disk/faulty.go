package disk

import (
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// Faulty is a disk that fails by a script. It is for tests.
type Faulty struct {
	d Disk

	mu    sync.Mutex
	rules []*rule
	rng   *rand.Rand
}

// NewFaulty wraps d. The script's rules are those of SetRules; chances are
// drawn from seed.
func NewFaulty(d Disk, seed uint64, script string) (*Faulty, error) {
	f := &Faulty{d: d, rng: rand.New(rand.NewPCG(seed, 0))}
	if err := f.SetRules(script); err != nil {
		return nil, err
	}
	return f, nil
}

// SetRules replaces the script: rules separated by newlines or semicolons,
// each
//
//	CALL [name=GLOB] [n=FROM[-TO]] [every=N] [p=CHANCE] EFFECT
//
// such as "sync name=wal n=3 lose; read name=kv/*.ldb p=0.01 flip". The calls
// and effects are listed at rule. The first rule that matches a call has its
// effect; slow lets the rules after it have theirs too. EINVAL for a script
// that doesn't parse: the old one stays.
func (f *Faulty) SetRules(script string) error {
	rules, err := parseRules(script)
	if err != nil {
		return wire.Wrap("disk.rules", "", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = rules
	return nil
}

// Hits says how often each rule had its effect, by its text.
func (f *Faulty) Hits() map[string]int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	hits := make(map[string]int64, len(f.rules))
	for _, r := range f.rules {
		hits[r.text] += r.done
	}
	return hits
}

// judge finds the rule for a call; delays are slept through here. nil lets the
// call pass. bit is a random number for flip.
func (f *Faulty) judge(call, name string) (hit *rule, bit uint64) {
	var delay time.Duration
	f.mu.Lock()
	for _, r := range f.rules {
		if !r.matches(call, name) || (r.chance < 1 && f.rng.Float64() >= r.chance) {
			continue
		}
		r.done++
		if r.effect == "slow" {
			delay += r.delay
			continue
		}
		if r.effect == "flip" {
			bit = f.rng.Uint64()
		}
		hit = r
		break
	}
	f.mu.Unlock()
	if delay > 0 {
		time.Sleep(delay)
	}
	return hit, bit
}

// refuse is judge for calls that can only fail.
func (f *Faulty) refuse(call, name string) error {
	if r, _ := f.judge(call, name); r != nil {
		return r.failure(name)
	}
	return nil
}

func (r *rule) failure(name string) error {
	kind := r.kind
	if kind == 0 {
		kind = wire.EIO
	}
	return &wire.Error{Op: "disk." + r.call + " (injected)", Subject: name, Kind: kind}
}

// Open implements Disk.
func (f *Faulty) Open(name string, flags Flag) (File, error) {
	if err := f.refuse("open", name); err != nil {
		return nil, err
	}
	in, err := f.d.Open(name, flags)
	if err != nil {
		return nil, err
	}
	return &faultyFile{File: in, f: f, name: name}, nil
}

// Remove implements Disk.
func (f *Faulty) Remove(name string) error {
	if err := f.refuse("remove", name); err != nil {
		return err
	}
	return f.d.Remove(name)
}

// Rename implements Disk; rules see the old name.
func (f *Faulty) Rename(from, to string) error {
	if err := f.refuse("rename", from); err != nil {
		return err
	}
	return f.d.Rename(from, to)
}

// Link implements Disk; rules see the old name.
func (f *Faulty) Link(from, to string) error {
	if err := f.refuse("link", from); err != nil {
		return err
	}
	return f.d.Link(from, to)
}

// Mkdir implements Disk.
func (f *Faulty) Mkdir(name string) error {
	if err := f.refuse("mkdir", name); err != nil {
		return err
	}
	return f.d.Mkdir(name)
}

// List implements Disk.
func (f *Faulty) List(dir string) ([]string, error) {
	if err := f.refuse("list", dir); err != nil {
		return nil, err
	}
	return f.d.List(dir)
}

// Size implements Disk; it never fails by itself.
func (f *Faulty) Size(name string) (int64, error) { return f.d.Size(name) }

// SyncDir implements Disk.
func (f *Faulty) SyncDir(dir string) error {
	if err := f.refuse("syncdir", dir); err != nil {
		return err
	}
	return f.d.SyncDir(dir)
}

// Lock implements Disk.
func (f *Faulty) Lock(name string) (io.Closer, error) {
	if err := f.refuse("lock", name); err != nil {
		return nil, err
	}
	return f.d.Lock(name)
}

// Space implements Disk; it never fails by itself.
func (f *Faulty) Space() (total, free int64, err error) { return f.d.Space() }

// Describe implements Disk.
func (f *Faulty) Describe() string { return "faulty " + f.d.Describe() }

// faultyFile is an open file of a Faulty.
type faultyFile struct {
	File
	f    *Faulty
	name string
}

// flipBit turns one bit of p.
func flipBit(p []byte, bit uint64) {
	if len(p) > 0 {
		bit %= uint64(len(p)) * 8
		p[bit/8] ^= 1 << (bit % 8)
	}
}

// ReadAt implements io.ReaderAt.
func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	r, bit := f.f.judge("read", f.name)
	if r != nil && r.effect == "error" {
		return 0, r.failure(f.name)
	}
	n, err := f.File.ReadAt(p, off)
	if r != nil {
		flipBit(p[:n], bit)
	}
	return n, err
}

// WriteAt implements io.WriterAt.
func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	r, bit := f.f.judge("write", f.name)
	if r == nil {
		return f.File.WriteAt(p, off)
	}
	switch r.effect {
	case "flip":
		turned := Aligned(len(p))
		copy(turned, p)
		flipBit(turned, bit)
		return f.File.WriteAt(turned, off)
	case "misdirect":
		return f.File.WriteAt(p, max(0, off+r.shift))
	case "short":
		half := len(p) / 2
		if f.Direct() {
			half = half / Align * Align
		}
		n, err := f.File.WriteAt(p[:half], off)
		if err == nil {
			err = r.failure(f.name)
		}
		return n, err
	}
	return 0, r.failure(f.name)
}

// Sync implements File. The effect lose needs a disk that can lose (Mem); on
// another one the data is merely not synced.
func (f *faultyFile) Sync() error {
	r, _ := f.f.judge("sync", f.name)
	if r == nil {
		return f.File.Sync()
	}
	if r.effect == "lose" {
		if in, ok := f.File.(interface{ LoseUnsynced() }); ok {
			in.LoseUnsynced()
		}
	}
	return r.failure(f.name)
}

// Grow implements File.
func (f *faultyFile) Grow(n int64) error {
	if err := f.f.refuse("grow", f.name); err != nil {
		return err
	}
	return f.File.Grow(n)
}

// Truncate implements File.
func (f *faultyFile) Truncate(n int64) error {
	if err := f.f.refuse("truncate", f.name); err != nil {
		return err
	}
	return f.File.Truncate(n)
}

// Discard implements File.
func (f *faultyFile) Discard(off, n int64) error {
	if err := f.f.refuse("discard", f.name); err != nil {
		return err
	}
	return f.File.Discard(off, n)
}

// LoseUnsynced hands through what Mem's files can do, for a Faulty on top of a
// Faulty.
func (f *faultyFile) LoseUnsynced() {
	if in, ok := f.File.(interface{ LoseUnsynced() }); ok {
		in.LoseUnsynced()
	}
}
