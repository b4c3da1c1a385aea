package clustermap

import (
	"bytes"
	"compress/gzip"
	"io"
	"testing"
)

// TestJSON compares with osdmaptool --dump json, byte for byte.
func TestJSON(t *testing.T) {
	for _, name := range omVectors {
		z, err := gzip.NewReader(bytes.NewReader(readFile(t, name+".json.gz")))
		if err != nil {
			t.Fatal(err)
		}
		want, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		compareJSON(t, name, loadOM(t, name), want)
	}
	live, err := DecodeOSDMap(wireVector(t, "OSDMap.full"))
	if err != nil {
		t.Fatal(err)
	}
	compareJSON(t, "live", live, readFile(t, "live.json"))
}

func compareJSON(t *testing.T, name string, m *OSDMap, want []byte) {
	t.Helper()
	got, want := m.JSON(), bytes.TrimSpace(want)
	if at := diffAt(got, want); !bytes.Equal(got, want) {
		t.Errorf("%s, byte %d:\n got %s\nwant %s", name, at, around(got, at), around(want, at))
	}
}

func around(b []byte, at int) []byte { return b[max(0, at-60):min(len(b), at+60)] }

// TestDump compares with osdmaptool --print.
func TestDump(t *testing.T) {
	live, err := DecodeOSDMap(wireVector(t, "OSDMap.full"))
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]*OSDMap{"om-temp-upmap": loadOM(t, "om-temp-upmap"), "live": live} {
		compareDump(t, name, m, readFile(t, name+".print.txt"))
	}
}

func compareDump(t *testing.T, name string, m *OSDMap, want []byte) {
	t.Helper()
	var b bytes.Buffer
	if err := m.Dump(&b); err != nil {
		t.Fatal(err)
	}
	got, want := bytes.TrimSpace(b.Bytes()), bytes.TrimSpace(want)
	if at := diffAt(got, want); !bytes.Equal(got, want) {
		t.Errorf("%s, byte %d:\n got %s\nwant %s", name, at, around(got, at), around(want, at))
	}
}
