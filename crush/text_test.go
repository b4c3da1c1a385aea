package crush

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func textFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// firstDifference gives the lines where two texts part.
func firstDifference(a, b []byte) (string, string) {
	la, lb := bytes.Split(a, []byte("\n")), bytes.Split(b, []byte("\n"))
	for i := range min(len(la), len(lb)) {
		if !bytes.Equal(la[i], lb[i]) {
			return string(la[i]), string(lb[i])
		}
	}
	return "(end)", "(end)"
}

func TestDecompile(t *testing.T) {
	for _, v := range loadVectors(t) {
		want := textFile(t, v.Name+".dec.txt")
		if got := loadMap(t, v.Name).Text(); !bytes.Equal(got, want) {
			g, w := firstDifference(got, want)
			t.Errorf("%s:\n got %q\nwant %q", v.Name, g, w)
		}
	}
}

// TestDerived computes tree nodes, straws and sums anew for every bucket of
// every map.
func TestDerived(t *testing.T) {
	for _, v := range loadVectors(t) {
		m := loadMap(t, v.Name)
		want := m.Encode()
		for _, b := range m.Buckets {
			if b == nil {
				continue
			}
			if err := b.setWeights(b.weightsOf(), m.Tunables.StrawCalcVersion); err != nil {
				t.Errorf("%s: %v", v.Name, err)
			}
		}
		if !bytes.Equal(m.Encode(), want) {
			t.Errorf("%s: derived weights differ", v.Name)
		}
	}
}

func TestShadowsRebuilt(t *testing.T) {
	m := loadMap(t, "classes")
	want := m.Encode()
	if err := m.BuildShadows(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(m.Encode(), want) {
		t.Error("rebuilt shadow trees differ")
	}
}

// TestCompile compiles the texts the maps were made from, and their
// decompiled forms, to the original compiler's bytes.
func TestCompile(t *testing.T) {
	for _, v := range loadVectors(t) {
		want := loadMap(t, v.Name).Encode()
		for _, ext := range []string{".txt", ".dec.txt"} {
			m, err := Compile(textFile(t, v.Name+ext))
			if err != nil {
				t.Errorf("%s%s: %v", v.Name, ext, err)
				continue
			}
			if got := m.Encode(); !bytes.Equal(got, want) {
				g, w := firstDifference(m.Text(), textFile(t, v.Name+".dec.txt"))
				t.Errorf("%s%s: bytes differ; text got %q, want %q", v.Name, ext, g, w)
			}
		}
	}
}
