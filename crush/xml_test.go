package crush

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

func xmlOf(t testing.TB, m *Map) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := m.WriteXML(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestXMLRoundTrip takes maps to XML and back to the same bytes: the
// recorded ones, random ones, and some whose derived weights are not what
// their kind would derive.
func TestXMLRoundTrip(t *testing.T) {
	maps := map[string]*Map{}
	for _, v := range loadVectors(t) {
		maps[v.Name] = loadMap(t, v.Name)
	}
	for seed := range uint64(60) {
		g := &mapGenerator{rng: rand.New(rand.NewPCG(seed, 4))}
		m, err := Compile(g.text())
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range m.Buckets {
			if b == nil || g.rng.IntN(2) == 0 {
				continue
			}
			for _, v := range [][]uint32{b.SumWeights, b.NodeWeights, b.Straws} {
				if len(v) > 0 {
					v[g.rng.IntN(len(v))]++
				}
			}
			b.Weight += g.rng.Uint32N(2)
		}
		if seed%2 == 0 {
			m.MSR = &MSRTunables{100, 7}
			m.Rules = append(m.Rules, nil, &Rule{ID: 3, Type: 5, Steps: []Step{{Op: 99, Arg1: -4, Arg2: 5}}})
			m.Names[1000] = "a & <b> \"c\""
			m.ClassBucket[-900] = map[int32]int32{2: -901}
			m.ClassBucket[-1] = map[int32]int32{}
		}
		maps["random "+itoa(int64(seed))] = m
	}
	for name, m := range maps {
		want := m.Encode()
		x := xmlOf(t, m)
		got, err := ReadXML(bytes.NewReader(x))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !bytes.Equal(got.Encode(), want) {
			t.Errorf("%s: bytes differ after XML", name)
		}
	}
}

func TestXMLErrors(t *testing.T) {
	const head = `<crushmap max_devices="1" max_buckets="2" max_rules="1">` + "\n<buckets>\n"
	for _, c := range []struct {
		text, want string
	}{
		{"<crushmap>\n<buckets>\n</crushmap>", "line 3"},
		{head + `<bucket id="-5" type="1" alg="list"/></buckets></crushmap>`, "line 3"},
		{head + `<bucket id="-1" type="1" alg="straw9"/></buckets></crushmap>`, "line 3: bucket -1: expected uniform"},
		{head + "\n" + `<bucket id="-1" type="1" alg="tree" nodes="1 x"/></buckets></crushmap>`, "line 4"},
		{head + `</buckets><rules><rule slot="1"/></rules></crushmap>`, "line 3: expected a free slot"},
		{head + `</buckets><choose_args key="0"><arg bucket="-1"/></choose_args></crushmap>`, "line 3: choose_args"},
		{`<crushmap max_buckets="99999999"/>`, "max_buckets"},
		{`<other/>`, "line 1: expected element type <crushmap>"},
		{"nothing", "line 1: expected <crushmap>"},
		{head + `<bucket id="x"/>`, `line 3: expected a number in range, found "x"`},
		{head + `<bucket id="-1" type="1" alg="straw2"><item id="-1" raw="1"/></bucket></buckets></crushmap>`, "below itself"},
	} {
		m, err := ReadXML(strings.NewReader(c.text))
		if m != nil || !errors.Is(err, ErrMap) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.text, err, c.want)
		}
	}
	m := New()
	m.Types[1] = "a\x01b"
	if err := m.WriteXML(new(bytes.Buffer)); !errors.Is(err, ErrMap) {
		t.Errorf("name with a control byte: %v", err)
	}
}

func FuzzReadXML(f *testing.F) {
	for _, name := range []string{"classes", "choose-args-ids", "mixed"} {
		f.Add(xmlOf(f, loadMap(f, name)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ReadXML(bytes.NewReader(b))
		if err != nil {
			return
		}
		var once bytes.Buffer
		if m.WriteXML(&once) != nil {
			return
		}
		again, err := ReadXML(&once)
		if err != nil {
			t.Fatalf("own XML refused: %v", err)
		}
		if !bytes.Equal(again.Encode(), m.Encode()) {
			t.Fatal("XML lost something")
		}
	})
}
