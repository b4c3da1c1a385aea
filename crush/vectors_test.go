package crush

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// vector is one entry of testdata/manifest.json: a map and the runs of
// crushtool --test recorded for it.
type vector struct {
	Name    string
	Rules   []string
	Devices int
	Runs    []struct {
		Run    int
		Pool   *int32
		Weight map[string]float64
	}
}

func loadVectors(t testing.TB) []vector {
	t.Helper()
	b, err := os.ReadFile("testdata/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	var v []vector
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func loadMap(t testing.TB, name string) *Map {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".bin"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := DecodeMap(b)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return m
}

// testerWeights is the weight vector crushtool --test uses: 1.0 for every
// device in a bucket, and what --weight replaced, truncated from float32.
func testerWeights(m *Map, replaced map[string]float64) []uint32 {
	w := make([]uint32, m.MaxDevices)
	for _, b := range m.Buckets {
		if b == nil {
			continue
		}
		for _, i := range b.Items {
			if i >= 0 {
				w[i] = 0x10000
			}
		}
	}
	for d, f := range replaced {
		n, _ := strconv.Atoi(d)
		w[n] = uint32(float32(f) * 65536)
	}
	return w
}

// TestMappings compares every recorded mapping of the original tool.
func TestMappings(t *testing.T) {
	total := 0
	for _, v := range loadVectors(t) {
		m := loadMap(t, v.Name)
		f, err := os.Open(filepath.Join("testdata", v.Name+".map.gz"))
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		total += compareMappings(t, v, m, bufio.NewScanner(z))
		f.Close()
	}
	if total != 688128 {
		t.Errorf("%d mappings compared, want 688128", total)
	}
}

func compareMappings(t *testing.T, v vector, m *Map, lines *bufio.Scanner) (compared int) {
	var w Work
	var weights []uint32
	var pool *int32
	var rule, numRep, bad int
	args := m.ChooseArgs[DefaultChooseArgs]
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			var run int
			if _, err := fmt.Sscanf(line, "# run %d rule %d num-rep %d", &run, &rule, &numRep); err != nil {
				t.Fatal(err)
			}
			weights = testerWeights(m, v.Runs[run].Weight)
			pool = v.Runs[run].Pool
			continue
		}
		head, list, ok := strings.Cut(line, "[")
		f := strings.Fields(head)
		if !ok || len(f) != 4 {
			t.Fatalf("%s: line %q", v.Name, line)
		}
		x, _ := strconv.ParseUint(f[3], 10, 32)
		in := uint32(x)
		if pool != nil {
			in = Hash2(in, uint32(*pool))
		}
		got := m.DoRule(rule, in, numRep, weights, args, &w)
		compared++
		if s := joinItems(got); s+"]" != list && bad < 5 {
			bad++
			t.Errorf("%s rule %d num-rep %d x %d: got [%s], want [%s", v.Name, rule, numRep, x, s, list)
		}
	}
	return compared
}

func joinItems(items []int32) string {
	var b []byte
	for i, it := range items {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(it), 10)
	}
	return string(b)
}

func TestEncodeRoundTrip(t *testing.T) {
	for _, v := range loadVectors(t) {
		want, err := os.ReadFile(filepath.Join("testdata", v.Name+".bin"))
		if err != nil {
			t.Fatal(err)
		}
		m, err := DecodeMap(want)
		if err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		if got := m.Encode(); !bytes.Equal(got, want) {
			t.Errorf("%s: encoded map differs from the original's bytes", v.Name)
		}
		if got := m.Clone().Encode(); !bytes.Equal(got, want) {
			t.Errorf("%s: encoded clone differs", v.Name)
		}
	}
}
