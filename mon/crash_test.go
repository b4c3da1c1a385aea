package mon

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// crashSteps are commands, one after the other, with what they must leave
// behind once they were acknowledged.
var crashSteps = []struct {
	cmd   map[string]any
	check func(m *Mon) bool
}{
	{map[string]any{"prefix": "osd pool create", "pool": "one", "pg_num": 4},
		func(m *Mon) bool { _, ok := m.OSDMap().PoolByName("one"); return ok }},
	{map[string]any{"prefix": "config set", "who": "osd", "name": "log_file", "value": "v"},
		func(m *Mon) bool { return m.conf.values["osd/log_file"] == "v" }},
	{map[string]any{"prefix": "osd set", "key": "noout"},
		func(m *Mon) bool { return m.OSDMap().Flags&clustermap.FlagNoOut != 0 }},
	{map[string]any{"prefix": "osd pool set", "pool": "one", "var": "size", "val": "2"},
		func(m *Mon) bool {
			id, _ := m.OSDMap().PoolByName("one")
			return m.OSDMap().Pool(id) != nil && m.OSDMap().Pool(id).Size == 2
		}},
	{map[string]any{"prefix": "config-key set", "key": "a/b", "val": "v"}, func(m *Mon) bool { return m.keys.values["a/b"] == "v" }},
	{map[string]any{"prefix": "config-key set", "key": "gone", "val": "v"}, func(m *Mon) bool { return true }},
	{map[string]any{"prefix": "log", "logtext": []string{"hello"}},
		func(m *Mon) bool {
			return slices.ContainsFunc(m.clog.lines, func(e wire.LogEntry) bool { return e.Text == "hello" })
		}},
	{map[string]any{"prefix": "health mute", "code": "X", "sticky": true}, func(m *Mon) bool { _, ok := m.mutes()["X"]; return ok }},
	{map[string]any{"prefix": "config-key rm", "key": "gone"}, func(m *Mon) bool { _, ok := m.keys.values["gone"]; return !ok }},
	{map[string]any{"prefix": "osd new", "uuid": "00112233-4455-6677-8899-aabbccddeeff"},
		func(m *Mon) bool { return m.OSDMap().Exists(0) }},
}

// crashRun starts a mon over kv and runs the steps until the KV fails. It
// gives the number of steps that were acknowledged.
func crashRun(t *testing.T, kv *MemKV) (acked int, first wire.Epoch) {
	t.Helper()
	dead := make(chan struct{})
	m, err := New(Options{Name: "a", Addr: monAddr, Net: msgr.NewLocal(), KV: kv, Fatal: func(error) { close(dead) }})
	if err != nil {
		t.Fatal(err)
	}
	first = m.OSDMap().Epoch
	if err := m.Start(); err != nil {
		return 0, first
	}
	defer m.Close()
	for _, step := range crashSteps {
		text, err := json.Marshal(step.cmd)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		a, err := m.Command(ctx, string(text), nil)
		cancel()
		if err != nil {
			if wire.ErrnoOf(err) != wire.ESHUTDOWN {
				t.Fatal(err)
			}
			<-dead
			return acked, first
		}
		if a.Result != 0 {
			t.Fatalf("%s: %d %s", text, a.Result, a.Status)
		}
		acked++
	}
	return acked, first
}

// TestCrashAtEverySync cuts the mon off at each of its syncs in turn. What
// was acknowledged must be there afterwards, the chain of increments must
// lead to the map that is stored, and the mon must go on.
func TestCrashAtEverySync(t *testing.T) {
	base := mkfs(t, MkfsOptions{})
	whole := base.Clone()
	if acked, _ := crashRun(t, whole); acked != len(crashSteps) {
		t.Fatalf("%d steps without a crash", acked)
	}
	for n := range whole.Syncs() + 1 {
		kv := base.Clone()
		kv.CrashAfter(n)
		acked, _ := crashRun(t, kv)
		kv = kv.Clone()
		m, err := New(Options{Name: "a", Addr: monAddr, Net: msgr.NewLocal(), KV: kv})
		if err != nil {
			t.Fatalf("crash after %d syncs: %v", n, err)
		}
		if err := m.Start(); err != nil {
			t.Fatalf("crash after %d syncs: %v", n, err)
		}
		for i := range acked {
			if !crashSteps[i].check(m) {
				t.Errorf("crash after %d syncs: step %d was acknowledged and is lost", n, i)
			}
		}
		m.Close()
		checkChain(t, fmt.Sprintf("crash after %d syncs", n), base, kv)
	}
}

// checkChain applies the increments in kv to the map of an older state, and
// wants the stored full map.
func checkChain(t *testing.T, what string, older, kv *MemKV) {
	t.Helper()
	load := func(kv *MemKV, key []byte) []byte {
		v, err := kv.Get(stateKey("osdmap", key))
		if err != nil || v == nil {
			return nil
		}
		b, err := unseal(what, v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	m, err := clustermap.DecodeOSDMap(load(older, []byte(keyFull)))
	if err != nil {
		t.Fatal(err)
	}
	for {
		b := load(kv, numKey(keyInc, uint64(m.Epoch)+1))
		if b == nil {
			break
		}
		inc, err := clustermap.DecodeIncremental(b)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if m, err = m.Apply(inc); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if err := m.VerifyFull(inc); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	if full := load(kv, []byte(keyFull)); !bytes.Equal(full, m.Encode()) {
		t.Errorf("%s: the stored map is not what the increments lead to (epoch %d)", what, m.Epoch)
	}
}

// TestDamage flips one byte of every record in turn: loading must fail, or
// give what was there, and never panic.
func TestDamage(t *testing.T) {
	base := mkfs(t, MkfsOptions{Pools: []PoolSpec{{Name: "p"}}})
	crashRun(t, base)
	var keys [][]byte
	base.Range(nil, nil, func(k, _ []byte) error { keys = append(keys, k); return nil })
	for _, k := range keys {
		v, err := base.Get(k)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []int{0, len(v) / 2, len(v) - 1} {
			kv := base.Clone()
			bad := bytes.Clone(v)
			bad[at] ^= 0x40
			if err := kv.Apply(&Batch{Changes: []Change{{Key: k, Value: bad}}}); err != nil {
				t.Fatal(err)
			}
			m, err := New(Options{Name: "a", Addr: monAddr, Net: msgr.NewLocal(), KV: kv})
			if err == nil && !bytes.Contains(k, []byte(keyInc)) {
				t.Errorf("%q damaged at %d: loaded, epoch %d", k, at, m.OSDMap().Epoch)
			} else if err != nil && wire.ErrnoOf(err) != wire.EIO {
				t.Errorf("%q damaged at %d: %v", k, at, err)
			}
		}
	}
}

// TestStaleProposal applies a step of a leader that was too late.
func TestStaleProposal(t *testing.T) {
	m, err := New(Options{Name: "a", Addr: monAddr, Net: msgr.NewLocal(), KV: mkfs(t, MkfsOptions{})})
	if err != nil {
		t.Fatal(err)
	}
	p := &proposal{service: "config", prior: 7, next: 8, changes: []Change{{Key: []byte("osd/log_file"), Value: seal([]byte("v"))}}}
	var b Batch
	got, err := m.applyEntry(&b, p.encode())
	if err != nil || got != nil || len(b.Changes) != 0 || m.conf.ver != 0 || m.Metrics.Rejected.Load() != 1 {
		t.Errorf("stale step: %v, %v, %d changes, version %d", got, err, len(b.Changes), m.conf.ver)
	}
	p.prior, p.next = 0, 1
	if got, err = m.applyEntry(&b, p.encode()); err != nil || got == nil || m.conf.values["osd/log_file"] != "v" || m.conf.ver != 1 {
		t.Errorf("step: %v, %v", got, err)
	}
}

func FuzzProposal(f *testing.F) {
	f.Add((&proposal{service: "osdmap", prior: 1, next: 2, changes: []Change{{Key: []byte("k"), Value: []byte("v")}, {Key: []byte("d"), Delete: true}}}).encode())
	f.Add(seal(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		// The checksum would stop every mutation, so the payload is sealed.
		for _, in := range [][]byte{b, seal(b)} {
			p, err := decodeProposal(in)
			if err != nil {
				if wire.ErrnoOf(err) == 0 {
					t.Error("error without a kind")
				}
				continue
			}
			q, err := decodeProposal(p.encode())
			if err != nil || q.service != p.service || q.prior != p.prior || q.next != p.next || len(q.changes) != len(p.changes) {
				t.Errorf("%+v became %+v, %v", p, q, err)
			}
		}
	})
}

func FuzzCommand(f *testing.F) {
	kv := NewMemKV()
	if _, err := Mkfs(kv, MkfsOptions{Name: "a", Addr: monAddr, OSDs: make([]MkfsOSD, 2), Pools: []PoolSpec{{Name: "p"}}}); err != nil {
		f.Fatal(err)
	}
	for prefix := range commandTable() {
		b, err := json.Marshal(map[string]any{"prefix": prefix, "pool": "p", "pool2": "p", "sure": "x", "ids": []string{"0"}, "who": "osd", "name": "n",
			"value": "v", "key": "noout", "var": "size", "val": "2", "uuid": "00112233445566778899aabbccddeeff", "id": 1, "blocklistop": "add",
			"addr": "1.2.3.4:5/6", "srcpool": "p", "destpool": "q", "app": "a", "snap": "s", "field": "max_bytes", "object": "o", "format": "json"})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Add(`{"prefix":"osd pool create","pool":"x","pg_num":-1}`)
	f.Add(`{"prefix":"osd blocklist","blocklistop":"add","addr":"::/9","expire":1e300}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, cmd string) {
		m, err := New(Options{Name: "a", Addr: monAddr, Net: msgr.NewLocal(), KV: kv.Clone()})
		if err != nil {
			t.Fatal(err)
		}
		if err := m.raft.Campaign(); err != nil {
			t.Fatal(err)
		}
		m.pump()
		answers := 0
		m.command(nil, &wire.MMonCommand{Cmd: []string{cmd}}, func(*wire.MMonCommandAck) { answers++ })
		m.pump()
		if answers != 1 {
			t.Errorf("%d answers to %s", answers, cmd)
		}
	})
}
