package clustermap

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spirula/spirula/crush"
	"github.com/spirula/spirula/rados/wire"
)

// omVectors are full maps made by osdmaptool 16.2.15 and then edited; for each
// there is its own answer for all 261 PGs.
var omVectors = []string{"om-plain", "om-states", "om-temp-upmap", "om-choose-args", "om-firefly"}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func loadOM(t testing.TB, name string) *OSDMap {
	t.Helper()
	m, err := DecodeOSDMap(readFile(t, name+".osdmap"))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return m
}

// wireVector gives the bytes of a vector captured from a live cluster.
func wireVector(t testing.TB, name string) []byte {
	t.Helper()
	var all []struct{ Name, Hex string }
	if err := json.Unmarshal(readFile(t, "wire.json"), &all); err != nil {
		t.Fatal(err)
	}
	for _, v := range all {
		if v.Name == name {
			b, err := hex.DecodeString(v.Hex)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
	}
	t.Fatalf("no vector %s", name)
	return nil
}

func setText(osds []int32, primary int32) string {
	var s []string
	for _, o := range osds {
		s = append(s, fmt.Sprint(o))
	}
	return fmt.Sprintf("([%s], p%d)", strings.Join(s, ","), primary)
}

// TestPGMappings compares raw, up and acting sets and all primaries with what
// osdmaptool --test-map-pgs-dump-all printed.
func TestPGMappings(t *testing.T) {
	compared := 0
	for _, name := range omVectors {
		m := loadOM(t, name)
		lines := bufio.NewScanner(bytes.NewReader(readFile(t, name+".pgs.txt")))
		for lines.Scan() {
			want := lines.Text()
			var pg wire.PGID
			if _, err := fmt.Sscanf(want, "%d.%x", &pg.Pool, &pg.Seed); err != nil {
				t.Fatalf("%s: line %q: %v", name, want, err)
			}
			for range 2 { // computed, then remembered
				raw, mp := m.RawMap(pg), m.Map(pg)
				got := fmt.Sprintf("%s raw %s up %s acting %s", pg, setText(raw, firstOSD(raw)),
					setText(mp.Up, mp.UpPrimary), setText(mp.Acting, mp.ActingPrimary))
				if got != want {
					t.Errorf("%s:\n got %s\nwant %s", name, got, want)
				}
			}
			compared++
		}
	}
	if compared != 5*261 {
		t.Errorf("%d PGs compared, want %d", compared, 5*261)
	}
}

func TestFullRoundTrip(t *testing.T) {
	all := map[string][]byte{
		"live":    wireVector(t, "OSDMap.full"),
		"minimal": wireVector(t, "OSDMap.minimal"),
	}
	for _, name := range omVectors {
		all[name] = readFile(t, name+".osdmap")
	}
	for name, want := range all {
		m, err := DecodeOSDMap(want)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := m.Encode(); !bytes.Equal(got, want) {
			t.Errorf("%s: encoding differs at byte %d (%d bytes, want %d)", name, diffAt(got, want), len(got), len(want))
		}
	}
}

func diffAt(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// TestLiveIncrementals applies two increments of a live cluster; the checksum
// they carry is that of the full map the original computed.
func TestLiveIncrementals(t *testing.T) {
	m, err := DecodeOSDMap(wireVector(t, "OSDMap.full"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"OSDMap.Incremental.e26", "OSDMap.Incremental.e27"} {
		b := wireVector(t, name)
		inc, err := DecodeIncremental(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := inc.Encode(); !bytes.Equal(got, b) {
			t.Errorf("%s: encoding differs at byte %d", name, diffAt(got, b))
		}
		before := m.Encode()
		next, err := m.Apply(inc)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := next.VerifyFull(inc); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !bytes.Equal(before, m.Encode()) {
			t.Errorf("%s: Apply changed the old map", name)
		}
		m = next
	}
	if m.Epoch != 27 || len(m.Pools[6].Applications) != 1 {
		t.Errorf("epoch %d, pool 6 %+v", m.Epoch, m.Pools[6])
	}
}

func TestMonMapVectors(t *testing.T) {
	for _, name := range []string{"MonMap", "MonMap.minimal"} {
		want := wireVector(t, name)
		m, err := DecodeMonMap(want)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := m.Encode(); !bytes.Equal(got, want) {
			t.Errorf("%s: encoding differs at byte %d", name, diffAt(got, want))
		}
		if m.Mon("a") == nil || len(m.Mons) != 1 {
			t.Errorf("%s: monitors %+v", name, m.Mons)
		}
	}
}

func TestNameHash(t *testing.T) {
	var all []struct {
		Name, Hex string
		Decoded   any
	}
	if err := json.Unmarshal(readFile(t, "wire.json"), &all); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, v := range all {
		if v.Name != "rjenkins" {
			continue
		}
		n++
		b, _ := hex.DecodeString(v.Hex)
		if got := fmt.Sprintf("%08x", crush.StrHash(b)); got != v.Decoded {
			t.Errorf("hash of %q: %s, want %s", b, got, v.Decoded)
		}
		ns, key, ok := strings.Cut(string(b), "\x1f")
		if !ok {
			ns, key = "", string(b)
		}
		p := NewPool(3, 8, 0, 0)
		if got := fmt.Sprintf("%08x", p.HashName(ns, "", key)); got != v.Decoded {
			t.Errorf("hash of name %q in %q: %s, want %s", key, ns, got, v.Decoded)
		}
		if got := fmt.Sprintf("%08x", p.HashName(ns, key, "other")); key != "" && got != v.Decoded {
			t.Errorf("hash of key %q in %q: %s, want %s", key, ns, got, v.Decoded)
		}
	}
	if n < 10 {
		t.Errorf("%d vectors", n)
	}
}
