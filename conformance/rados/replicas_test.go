package rados

import (
	"fmt"
	"hash/fnv"
	"maps"
	"path/filepath"
	"slices"

	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

// listMax is how many objects are asked of a store at once.
const listMax = 1000

// compareReplicas stops the OSDs and wants every object of the pools to be the
// same, to the last attribute, in as many stores as the pool has copies.
func (d *daemons) compareReplicas(copies map[int64]int) {
	d.Helper()
	for i, p := range d.osds {
		if err := p.Stop(); err != nil {
			d.Errorf("osd.%d stops: %v", i, err)
		}
	}
	found := map[string][]string{} // by object, what each store has of it
	for i, dir := range d.dirs {
		objects, err := readStore(filepath.Join(dir, "store"), func(o store.ObjectID) bool { return copies[o.Pool] > 0 && o.Name != "" })
		if err != nil {
			d.Fatalf("the store of osd.%d: %v", i, err)
		}
		for o, state := range objects {
			found[o] = append(found[o], state)
		}
	}
	bad := 0
	for _, o := range slices.Sorted(maps.Keys(found)) {
		var pool int64
		fmt.Sscanf(o, "%d ", &pool)
		states := found[o]
		if len(states) == copies[pool] && len(slices.Compact(slices.Sorted(slices.Values(states)))) == 1 {
			continue
		}
		if bad++; bad <= 10 {
			d.Errorf("%s: %d copies, want %d: %q", o, len(states), copies[pool], states)
		}
	}
	d.Logf("%d objects compared, %d differ", len(found), bad)
	if len(found) == 0 {
		d.Error("no objects to compare")
	}
}

// readStore sums up each object that a store has, but for metadata of the
// placement groups.
func readStore(path string, wanted func(store.ObjectID) bool) (map[string]string, error) {
	files, err := disk.OpenDir(path)
	if err != nil {
		return nil, err
	}
	s, err := store.Open(files, store.Options{})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	report, err := s.Fsck(store.FsckOptions{Deep: true})
	if err == nil && len(report.Problems) > 0 {
		err = fmt.Errorf("%d problems: %s", len(report.Problems), report.Problems[0])
	}
	if err != nil {
		return nil, err
	}
	objects := map[string]string{}
	for from, more := wire.MinHObject, true; more; {
		var ids []store.ObjectID
		if ids, more, err = s.List(-1, from, wire.MaxHObject, listMax); err != nil {
			return nil, err
		}
		for _, o := range ids {
			from = o.HObject
			if !wanted(o) {
				continue
			}
			name := fmt.Sprintf("%d %s/%s@%d %d", o.Pool, o.Namespace, o.Name, o.Snap, o.Gen)
			if objects[name], err = sum(s, o); err != nil {
				return nil, err
			}
		}
		// The last one is listed again, as the first.
		more = more && len(ids) > 1
	}
	return objects, nil
}

// sum tells what an object is in a line that differs when any of it does.
func sum(s *store.Store, o store.ObjectID) (string, error) {
	st, err := s.Stat(o)
	if err != nil {
		return "", err
	}
	data, err := s.Read(o, 0, st.Size)
	if err != nil {
		return "", err
	}
	defer data.Release()
	h := fnv.New64a()
	h.Write(data.AppendTo(nil))
	line := fmt.Sprintf("%d bytes %x", st.Size, h.Sum64())
	attrs, err := s.Xattrs(o)
	if err != nil {
		return "", err
	}
	h.Reset()
	for _, a := range attrs {
		fmt.Fprintf(h, "%q=%x\n", a.Key, a.Value)
	}
	line += fmt.Sprintf(", %d attributes %x", len(attrs), h.Sum64())
	h.Reset()
	header, err := s.OmapHeader(o)
	if err != nil {
		return "", err
	}
	keys := 0
	fmt.Fprintf(h, "%x\n", header)
	for after, more := "", true; more; {
		var kvs []wire.KV
		if kvs, more, err = s.OmapList(o, after, "", listMax, true); err != nil {
			return "", err
		}
		for _, kv := range kvs {
			fmt.Fprintf(h, "%q=%x\n", kv.Key, kv.Value)
			after = string(kv.Key)
			keys++
		}
	}
	return line + fmt.Sprintf(", %d omap entries %x", keys, h.Sum64()), nil
}
