package main

import (
	"bytes"
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spirula/spirula/crush"
)

func crushtoolCommand() *cobra.Command {
	return toolCommand("crushtool", "Make, change, show and test CRUSH maps, with the options of Ceph's crushtool", runCrushtool)
}

const crushtoolUsage = `usage: spirula crushtool [OPTION]...

One of these gives the map, the further options apply to it in this order:
  -i FILE                      read a map (- is stdin)
  -c FILE                      compile a map's text
  -d FILE                      decompile a map
  --import-xml FILE            read a map's XML
  --build --num_osds N LAYER ALG SIZE...
                               make a regular map, lowest layer first;
                               ALG is uniform, list, tree, straw or straw2,
                               SIZE 0 one bucket of all
Tunables:
  --set-choose-local-tries N, --set-choose-local-fallback-tries N,
  --set-choose-total-tries N, --set-chooseleaf-descend-once N,
  --set-chooseleaf-vary-r N, --set-chooseleaf-stable N,
  --set-straw-calc-version N
Changes:
  --add-item ID WEIGHT NAME --loc TYPE NAME...
  --update-item ID WEIGHT NAME --loc TYPE NAME...
  --add-bucket NAME TYPE [--loc TYPE NAME...]
  --move NAME --loc TYPE NAME...
  --remove-item NAME
  --reweight-item NAME WEIGHT
  --reweight                   compute all sums again
  --rebuild-class-roots
  --create-simple-rule NAME ROOT TYPE firstn|indep [--device-class CLASS]
  --create-replicated-rule NAME ROOT TYPE [--device-class CLASS]
  --remove-rule NAME
Show:
  --dump                       as JSON
  --tree, --bucket-tree --bucket-name NAME, --show-location ID
  --check [MAXID]
  --test [--min-x N] [--max-x N] [--x N] [--min-rule N] [--max-rule N]
         [--rule N] [--ruleset N] [--num-rep N] [--min-rep N] [--max-rep N]
         [--pool-id N] [--weight DEVICE WEIGHT]...
     --show-mappings, --show-bad-mappings, --show-statistics,
     --show-utilization, --show-utilization-all, --show-choose-tries
Write:
  -o FILE                      the changed map, or the decompiled text
  --export-xml FILE            the map as XML (- is stdout)
`

// crushOptions is what a command line of crushtool asks for.
type crushOptions struct {
	in, out, source, decompile, importXML, exportXML string
	compile, build                                   bool
	devices                                          int
	layers                                           []crush.Layer
	tunables                                         [7]int // -1: stay

	edits crushEdits

	test, show, dump, tree, bucketTree, check bool
	format, bucketName                        string
	location, checkMax                        int
	weights                                   map[int32]uint32
	tester                                    crush.Tester
}

// crushTunables are the --set- options, in the order of crushOptions.tunables.
var crushTunables = [...]string{"--set-choose-local-tries", "--set-choose-local-fallback-tries",
	"--set-choose-total-tries", "--set-chooseleaf-descend-once", "--set-chooseleaf-vary-r",
	"--set-chooseleaf-stable", "--set-straw-calc-version"}

func runCrushtool(t *tool) int {
	if len(t.args) == 0 {
		t.fail("%s: -h or --help for usage", t.name)
	}
	for _, a := range t.args {
		if a == "-h" || a == "--help" {
			t.printf("%s", crushtoolUsage)
			return 0
		}
	}
	o := &crushOptions{location: -1, checkMax: -1, format: "json-pretty", tester: *crush.NewTester(nil)}
	for i := range o.tunables {
		o.tunables[i] = -1
	}
	t.crushOptions(o)
	m, modified := t.crushInput(o)
	modified = setTunables(&m.Tunables, o.tunables) || modified
	modified = t.crushEdits(m, &o.edits) || modified
	if modified {
		m.TrimDevices()
	}
	t.crushShow(m, o)
	if o.exportXML != "" {
		t.writeXML(m, o.exportXML)
	}
	if modified {
		t.writeCrush(m, o)
	}
	return 0
}

// writeCrush writes a map that was made or changed.
func (t *tool) writeCrush(m *crush.Map, o *crushOptions) {
	if o.out == "" {
		if o.exportXML == "" {
			t.printf("%s successfully built or modified map.  Use '-o <file>' to write it out.\n", t.name)
		}
		return
	}
	if err := os.WriteFile(o.out, m.Encode(), 0o644); err != nil {
		t.fail("%s: error writing '%s': %v", t.name, o.out, err)
	}
}

func (t *tool) writeXML(m *crush.Map, name string) {
	var b bytes.Buffer
	err := m.WriteXML(&b)
	if err == nil && name == "-" {
		_, err = t.out.Write(b.Bytes())
	} else if err == nil {
		err = os.WriteFile(name, b.Bytes(), 0o644)
	}
	if err != nil {
		t.fail("%s: error writing '%s': %v", t.name, name, err)
	}
}

func setTunables(to *crush.Tunables, v [7]int) (modified bool) {
	wide := map[int]*uint32{0: &to.ChooseLocalTries, 1: &to.ChooseLocalFallbackTries, 2: &to.ChooseTotalTries,
		3: &to.ChooseLeafDescendOnce}
	narrow := map[int]*uint8{4: &to.ChooseLeafVaryR, 5: &to.ChooseLeafStable, 6: &to.StrawCalcVersion}
	for i, n := range v {
		if n < 0 {
			continue
		}
		modified = true
		if w := wide[i]; w != nil {
			*w = uint32(n)
		} else {
			*narrow[i] = uint8(n)
		}
	}
	return modified
}

// crushInput reads, compiles or builds the map.
func (t *tool) crushInput(o *crushOptions) (m *crush.Map, modified bool) {
	switch {
	case o.compile:
		return t.compile(o.source), true
	case o.build:
		return t.buildLayers(o), true
	case o.importXML != "":
		b := t.readCrush(o.importXML)
		m, err := crush.ReadXML(bytes.NewReader(b))
		if err != nil {
			t.fail("%s: %s: %v", t.name, o.importXML, err)
		}
		return m, true
	}
	name := o.in
	if o.decompile != "" {
		name = o.decompile
	}
	m, err := crush.DecodeMap(t.readCrush(name))
	if err != nil {
		t.fail("%s: unable to decode %s", t.name, name)
	}
	return m, false
}

func (t *tool) readCrush(name string) []byte {
	b, err := readFile(name)
	if err != nil {
		t.fail("%s: error reading '%s': %s", t.name, name, openError(name, err))
	}
	return b
}

func (t *tool) compile(name string) *crush.Map {
	text, err := readFile(name)
	if errors.Is(err, os.ErrNotExist) {
		t.warnf("input file %s not found\n", name)
		t.exit(254)
	}
	if err != nil {
		t.fail("%s: error reading '%s': %v", t.name, name, err)
	}
	m, err := crush.Compile(text)
	var at *crush.TextError
	if errors.As(err, &at) {
		t.fail("%s:%d error: %s", name, at.Line, at.Msg)
	}
	if err != nil {
		t.fail("%s: %v", name, err)
	}
	return m
}

func (t *tool) buildLayers(o *crushOptions) *crush.Map {
	if len(o.layers) == 0 {
		t.fail("%s: must specify at least one layer", t.name)
	}
	m, err := crush.BuildLayers(o.devices, o.layers)
	if err != nil {
		t.fail("%s: %v", t.name, err)
	}
	roots, first := 0, ""
	for i := range m.Tree(false) {
		if i.Depth == 0 {
			roots++
		}
	}
	if last := o.layers[len(o.layers)-1]; roots > 1 {
		first = last.Name + "0"
		t.warnf("The crush rulesets will use the root %s\nand ignore the others.\nThere are %d roots, they can be\n"+
			"grouped into a single root by appending something like:\n  root straw 0\n\n", first, roots)
	}
	return m
}

// crushShow prints what was asked for.
func (t *tool) crushShow(m *crush.Map, o *crushOptions) {
	if o.location >= 0 {
		for _, l := range m.LocationOf(int32(o.location)) {
			t.printf("%s\t%s\n", l.Type, l.Name)
		}
	}
	if o.tree {
		t.must(m.WriteTree(t.out))
	}
	if o.bucketTree {
		t.bucketTree(m, o.bucketName)
	}
	if o.dump {
		t.dumpCrush(m, o.format)
	}
	if o.decompile != "" {
		if o.out == "" {
			t.out.Write(m.Text())
		} else if err := os.WriteFile(o.out, m.Text(), 0o644); err != nil {
			t.fail("%s: error writing '%s'", t.name, o.out)
		}
	}
	if o.check {
		for _, line := range m.OverlappedRules() {
			t.warnf("%s\n", line)
		}
		if o.checkMax >= 0 {
			if err := m.CheckNames(int32(o.checkMax)); err != nil {
				t.printf("%v\n", err)
				t.exit(1)
			}
		}
	}
	if o.test {
		o.tester.Map, o.tester.Weights = m, o.weights
		if o.tester.UtilizationAll {
			t.warnf("devices weights (hex): [%s]\n", hexList(o.tester.DeviceWeights()))
		}
		t.must(o.tester.Run(t.out))
	}
}

// must ends the run if output failed.
func (t *tool) must(err error) {
	if err != nil {
		t.fail("%s: %v", t.name, err)
	}
}

func (t *tool) bucketTree(m *crush.Map, name string) {
	if name == "" {
		t.warnf(": error bucket_name is empty\n")
		return
	}
	id, ok := m.ItemByName(name)
	if !ok {
		t.fail("%s: bucket '%s' does not exist", t.name, name)
	}
	t.must(m.WriteDevices(t.out, id))
}

func (t *tool) dumpCrush(m *crush.Map, format string) {
	b := m.JSON()
	switch format {
	case "json-pretty":
		t.printf("%s\n\n", b)
	case "json":
		t.printf("%s\n", compactJSON(b))
	default:
		t.fail("%s: --format %s: json-pretty and json are known", t.name, format)
	}
}

func hexList(v []uint32) string {
	s := make([]string, len(v))
	for i, w := range v {
		s[i] = hex(w)
	}
	return strings.Join(s, ",")
}
