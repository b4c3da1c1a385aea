package main

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/spirula/spirula/crush"
)

// crushOptions reads the command line. Order matters only within one option's
// arguments, and that --loc may stand several times.
func (t *tool) crushOptions(o *crushOptions) {
	o.weights = map[int32]uint32{}
	for t.at < len(t.args) {
		if t.args[t.at] == "--" {
			t.pop()
			break
		}
		if !t.inputOption(o) && !t.editOption(&o.edits) && !t.showOption(o) && !t.testOption(o) {
			t.at++
		}
	}
	t.checkCrushOptions(o)
}

func (t *tool) inputOption(o *crushOptions) bool {
	switch {
	case t.text(&o.decompile, "-d", "--decompile"), t.text(&o.in, "-i", "--infn"), t.text(&o.out, "-o", "--outfn"),
		t.text(&o.importXML, "--import-xml"), t.text(&o.exportXML, "--export-xml"),
		t.number(&o.devices, "--num-osds"):
	case t.flag("-v", "--verbose", "--enable-unsafe-tunables"):
	case t.text(&o.source, "-c", "--compile"):
		o.compile = true
	case t.flag("--build"):
		o.build = true
	default:
		for i, name := range crushTunables {
			if t.number(&o.tunables[i], name) {
				return true
			}
		}
		return false
	}
	return true
}

func (t *tool) showOption(o *crushOptions) bool {
	switch {
	case t.flag("--dump"):
		o.dump = true
	case t.flag("--tree"):
		o.tree = true
	case t.flag("--bucket-tree"):
		o.bucketTree = true
	case t.text(&o.format, "-f", "--format"), t.text(&o.bucketName, "-b", "--bucket-name"),
		t.number(&o.location, "--show-location"):
	case t.flag("--check"):
		o.check = true
		if t.at < len(t.args) && !strings.HasPrefix(t.args[t.at], "-") {
			v, _ := t.pop()
			o.checkMax = t.integer(v)
		}
	default:
		return false
	}
	return true
}

func (t *tool) testOption(o *crushOptions) bool {
	s := &o.tester
	for _, f := range [...]struct {
		name string
		to   *bool
	}{{"--show-utilization", &s.Utilization}, {"--show-utilization-all", &s.UtilizationAll},
		{"--show-statistics", &s.Statistics}, {"--show-mappings", &s.Mappings},
		{"--show-bad-mappings", &s.BadMappings}, {"--show-choose-tries", &s.ChooseTries}} {
		if t.flag(f.name) {
			*f.to, o.show = true, true
			return true
		}
	}
	var n int
	switch {
	case t.flag("--test"):
		o.test = true
	case t.number(&n, "--min-x"):
		s.MinX = int32(n)
	case t.number(&n, "--max-x"):
		s.MaxX = int32(n)
	case t.number(&n, "--x"):
		s.MinX, s.MaxX = int32(n), int32(n)
	case t.number(&s.MinRule, "--min-rule"), t.number(&s.MaxRule, "--max-rule"), t.number(&s.Ruleset, "--ruleset"),
		t.number(&s.MinRep, "--min-rep"), t.number(&s.MaxRep, "--max-rep"):
	case t.number(&n, "--rule"):
		s.MinRule, s.MaxRule = n, n
	case t.number(&n, "--num-rep"):
		s.MinRep, s.MaxRep = n, n
	case t.number(&n, "--pool-id"):
		s.Pool = int64(n)
	case t.number(&n, "--batches"):
		// How inputs are split shows in no output that is supported.
	case t.number(&n, "--weight"):
		o.weights[int32(n)] = t.reweight(t.more("--weight"))
	default:
		return false
	}
	return true
}

// reweight reads a reweight, 0 to 1; what is no number is 0, as in C.
func (t *tool) reweight(s string) uint32 {
	f, _ := strconv.ParseFloat(s, 32)
	return uint32(float32(min(max(f, 0), 1)) * 0x10000)
}

// checkCrushOptions finds what does not go together, and the layers of --build
// in what is left.
func (t *tool) checkCrushOptions(o *crushOptions) {
	if o.test && !o.show && !o.check {
		t.warnf("WARNING: no output selected; use --output-csv or --show-X\n")
	}
	inputs := 0
	for _, given := range []bool{o.compile, o.decompile != "", o.build, o.importXML != ""} {
		if given {
			inputs++
		}
	}
	if inputs > 1 {
		t.fail("cannot specify more than one of compile, decompile, and build")
	}
	shows := o.test || o.dump || o.tree || o.bucketTree || o.check || o.location >= 0 || o.exportXML != ""
	sets := o.tunables != [7]int{-1, -1, -1, -1, -1, -1, -1}
	if inputs == 0 && !shows && !sets && !o.edits.any() {
		t.fail("no action specified; -h for help")
	}
	if !o.build {
		if len(t.args) > 0 {
			t.fail("unrecognized arguments: [%s]", strings.Join(t.args, ","))
		}
		if inputs == 0 && o.in == "" {
			t.fail("%s: no map given; use -i FILE", t.name)
		}
		return
	}
	if len(t.args)%3 != 0 {
		t.fail("remaining args: [%s]\nlayers must be specified with 3-tuples of (name, buckettype, size)",
			strings.Join(t.args, ","))
	}
	for i := 0; i < len(t.args); i += 3 {
		alg, ok := algByName(t.args[i+1])
		if !ok {
			t.fail("unknown bucket type '%s'", t.args[i+1])
		}
		size, _ := strconv.Atoi(t.args[i+2])
		o.layers = append(o.layers, crush.Layer{Name: t.args[i], Alg: alg, Size: size})
	}
}

func algByName(name string) (crush.Alg, bool) {
	for a := crush.Uniform; a <= crush.Straw2; a++ {
		if a.String() == name {
			return a, true
		}
	}
	return 0, false
}

func hex(w uint32) string { return strconv.FormatUint(uint64(w), 16) }

// compactJSON takes the spaces out.
func compactJSON(b []byte) []byte {
	var out bytes.Buffer
	if err := json.Compact(&out, b); err != nil {
		panic("crushtool: a map's JSON is none: " + err.Error())
	}
	return out.Bytes()
}
