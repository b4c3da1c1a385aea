package tree

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados/wire"
)

// wantHow says how much of a space is wanted.
type wantHow uint8

const (
	wantKeys   wantHow = iota // keys
	wantRange                 // about pageKeys entries from from on
	wantAll                   // everything from from on
	wantInline                // the inline bytes under keys[0]
	wantLog                   // that the birth log knows what replay changed
)

// want is one thing to load.
type want struct {
	id     spaceID
	how    wantHow
	keys   []string
	from   string
	frags  []inode.Frag // directories
	splits uint64       // Tree.splits when it was asked
}

// name tells equal wants, so that they are read once; "" for those that are
// not worth it.
func (w *want) name() string {
	if len(w.keys) > 1 {
		return ""
	}
	key := w.from
	if len(w.keys) == 1 {
		key = w.keys[0]
	}
	return fmt.Sprintf("%d %d %s %d %s", w.id.kind, w.id.ino, w.id.object, w.how, key)
}

// Load reads what m asks for. After an error other than ctx's the same
// question may be asked again.
func (t *Tree) Load(ctx context.Context, m *Miss) error {
	if len(m.wants) == 1 {
		return t.load(ctx, &m.wants[0])
	}
	var wg sync.WaitGroup
	errs := make([]error, len(m.wants))
	room := make(chan struct{}, t.o.Parallel)
	for i := range m.wants {
		room <- struct{}{}
		wg.Go(func() {
			errs[i] = t.load(ctx, &m.wants[i])
			<-room
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *Tree) load(ctx context.Context, w *want) error {
	name := w.name()
	t.o.Mu.Lock()
	if done := t.inFlight[name]; done != nil {
		t.o.Mu.Unlock()
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return wire.Wrap("tree.load", "", ctx.Err())
		}
	}
	done := make(chan struct{})
	if name != "" {
		t.inFlight[name] = done
	}
	sp := t.space(w.id)
	sp.loading++
	sp.touched = true
	t.evict()
	t.o.Mu.Unlock()

	err := t.read(ctx, w, sp)

	t.o.Mu.Lock()
	sp.loading--
	if name != "" {
		delete(t.inFlight, name)
	}
	t.o.Mu.Unlock()
	close(done)
	return err
}

// install runs f under Mu unless what was read is void by now.
func (t *Tree) install(w *want, sp *space, f func()) (valid bool) {
	t.o.Mu.Lock()
	defer t.o.Mu.Unlock()
	if sp.gone || t.splits != w.splits {
		t.m.StaleLoads.Add(1)
		return false
	}
	f()
	sp.touched = true
	return true
}

func (t *Tree) read(ctx context.Context, w *want, sp *space) error {
	switch w.how {
	case wantKeys:
		return t.readKeys(ctx, w, sp)
	case wantInline:
		return t.readInline(ctx, w, sp)
	case wantLog:
		return t.adoptLog(ctx, w, sp)
	}
	from := w.from
	for {
		items, complete, err := t.readFrom(ctx, w, from)
		if err != nil {
			return err
		}
		if !t.install(w, sp, func() { t.installRange(sp, from, items, complete) }) {
			return nil
		}
		if complete || w.how == wantRange {
			return nil
		}
		from = items[len(items)-1].key
	}
}

// readFrom reads a page of entries; complete says that it goes to the end of
// the space. Without complete there is at least one entry above from.
func (t *Tree) readFrom(ctx context.Context, w *want, from string) (items []loaded, complete bool, err error) {
	if w.id.kind != kindDir {
		kvs, more, err := t.page(ctx, w.id.object, "", from)
		if err != nil {
			return nil, false, err
		}
		items, err := t.decode(w, w.id.object, kvs, nil)
		return items, !more, err
	}
	at := from
	for i := fragAt(w.frags, from); ; {
		object := fragObject(w.id.ino, w.frags[i].Num)
		kvs, more, err := t.page(ctx, object, classDentry, at)
		if err != nil {
			return nil, false, err
		}
		if end := fragEnd(w.frags, i); end != "" {
			// A split may not have removed yet what it copied away.
			n, _ := slices.BinarySearchFunc(kvs, end, func(kv wire.KV, end string) int { return cmpString(kv.Key, end) })
			if n < len(kvs) {
				kvs, more = kvs[:n], false
			}
		}
		if items, err = t.decode(w, object, kvs, items); err != nil {
			return nil, false, err
		}
		switch {
		case more && (len(items) == 0 || items[len(items)-1].key <= from):
			return nil, false, wire.Wrap("tree.read", object+": no progress", wire.EIO)
		case more || len(items) >= pageKeys/2 && i < len(w.frags)-1:
			return items, false, nil
		case i == len(w.frags)-1:
			return items, true, nil
		}
		i++
		at = w.frags[i].First
	}
}

func cmpString(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// decode appends the entries of a page to items.
func (t *Tree) decode(w *want, object string, kvs []wire.KV, items []loaded) ([]loaded, error) {
	items = slices.Grow(items, len(kvs))
	for i := range kvs {
		it, err := decodeValue(w.id.kind, kvs[i].Key, kvs[i].Value)
		if err != nil {
			return nil, wire.Wrap("tree.read", fmt.Sprintf("%s key %q", object, kvs[i].Key), err)
		}
		items = append(items, it)
	}
	return items, nil
}

func decodeValue(kind spaceKind, key string, value []byte) (loaded, error) {
	it := loaded{key: key, size: int32(len(value)), class: presentNo}
	switch kind {
	case kindDir:
		d, err := inode.DecodeDentry(value)
		if err != nil {
			return it, err
		}
		if it.val = d; hasInline(d) {
			it.class = presentYes
		}
	case kindRows:
		r, err := inode.DecodeRow(value)
		if err != nil {
			return it, err
		}
		it.val = r
	default:
		if value == nil {
			value = []byte{}
		}
		it.val = value
	}
	return it, nil
}

// readKeys reads single keys, those of one object in one vector.
func (t *Tree) readKeys(ctx context.Context, w *want, sp *space) error {
	keys := slices.Clone(w.keys)
	slices.Sort(keys)
	keys = slices.Compact(keys)
	for len(keys) > 0 {
		object, class, n := w.id.object, "", len(keys)
		if w.id.kind == kindDir {
			i := fragAt(w.frags, keys[0])
			object, class = fragObject(w.id.ino, w.frags[i].Num), classDentry
			if end := fragEnd(w.frags, i); end != "" {
				n, _ = slices.BinarySearch(keys, end)
			}
		}
		n = min(n, pageKeys)
		full := make([]string, n)
		for i := range full {
			full[i] = class + keys[i]
		}
		values, err := t.values(ctx, object, full)
		if err != nil {
			return err
		}
		items := make([]loaded, n)
		for i := range items {
			items[i] = loaded{key: keys[i], class: presentNo}
			if v, ok := values[full[i]]; ok {
				if items[i], err = decodeValue(w.id.kind, keys[i], v); err != nil {
					return wire.Wrap("tree.read", fmt.Sprintf("%s key %q", object, full[i]), err)
				}
			}
		}
		if !t.install(w, sp, func() { t.installKeys(sp, items) }) {
			return nil
		}
		keys = keys[n:]
	}
	return nil
}

func (t *Tree) readInline(ctx context.Context, w *want, sp *space) error {
	token := w.keys[0]
	object := fragObject(w.id.ino, w.frags[fragAt(w.frags, token)].Num)
	values, err := t.values(ctx, object, []string{classInline + token})
	if err != nil {
		return err
	}
	var data []byte
	if v, ok := values[classInline+token]; ok {
		if data, err = inode.DecodeInline(v); err != nil {
			return wire.Wrap("tree.read", fmt.Sprintf("%s inline data of %q", object, token), err)
		}
	}
	lost := false
	t.install(w, sp, func() {
		e := t.find(sp, token)
		if !hasInline(dentryOf(e)) || e.inlineIs != inlineUnknown {
			return
		}
		if data == nil {
			lost = true
			return
		}
		e.inline, e.inlineIs = data, inlineClean
		t.resize(e)
	})
	if lost {
		return wire.Wrap("tree.read", fmt.Sprintf("%s: inline data of %q is missing", object, token), wire.EIO)
	}
	return nil
}
