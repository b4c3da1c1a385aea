package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// toolRun is what one run of a tool did.
type toolRun struct {
	out, err string
	status   int
	written  []byte // to out.map
}

// runTool runs one of the verbs in dir.
func runTool(t *testing.T, cmd *cobra.Command, dir string, args []string) toolRun {
	t.Helper()
	t.Chdir(dir)
	var out, errs bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	if args == nil {
		args = []string{}
	}
	cmd.SetArgs(args)
	r := toolRun{}
	if err := cmd.Execute(); err != nil {
		status, ok := err.(exitStatus)
		if !ok {
			t.Fatalf("%v: %v", args, err)
		}
		r.status = int(status)
	}
	r.out, r.err, r.written = out.String(), errs.String(), written(t, dir)
	return r
}

// written takes what a run wrote to out.map.
func written(t *testing.T, dir string) []byte {
	t.Helper()
	name := filepath.Join(dir, "out.map")
	b, err := os.ReadFile(name)
	if err != nil {
		return nil
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	return b
}

// runOriginal runs Ceph's tool. It names itself by its path.
func runOriginal(t *testing.T, path, dir string, args []string) toolRun {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	log := regexp.MustCompile(`\d{4}-\d\d-\d\dT\S+ [0-9a-f]{12} .*\n`)
	own := regexp.MustCompile(`(?m)^/\S*/` + filepath.Base(path) + `\b`)
	name := filepath.Base(path)
	return toolRun{own.ReplaceAllString(out.String(), name), own.ReplaceAllString(log.ReplaceAllString(errs.String(), ""), name),
		cmd.ProcessState.ExitCode(), written(t, dir)}
}

// mapDir gives a directory with maps to work on.
func mapDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, from := range []string{"../../crush/testdata/classes.bin", "../../crush/testdata/classes.txt",
		"../../crush/testdata/ec.bin", "../../crush/testdata/choose-args.bin", "../../crush/testdata/alg-straw.bin",
		"../../crush/testdata/mixed.txt", "../../rados/clustermap/testdata/om-plain.osdmap",
		"../../rados/clustermap/testdata/om-states.osdmap", "../../rados/clustermap/testdata/om-temp-upmap.osdmap"} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(from)), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "junk"), []byte("junk\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := runTool(t, crushtoolCommand(), dir, strings.Fields("-o b.map --build --num_osds 20 node straw2 3 rack list 2 root straw2 0"))
	if r.status != 0 || r.out != "" || r.err != "" {
		t.Fatalf("--build: %+v", r)
	}
	return dir
}

// crushtoolLines are command lines that must do the same with both tools.
const crushtoolLines = `
-c mixed.txt -o out.map
-c classes.txt -o out.map
-c nofile
-c junk
-c mixed.txt -d classes.bin
-d classes.bin
-d classes.bin -o out.map
-d junk
-i nofile --tree
-o out.map --build --num_osds 23 node uniform 3 rack tree 2 row straw 3 root uniform 0
-o out.map --build --num_osds 5 node straw 2
--build --num_osds 3 node straw2
--build --num_osds 3 node foo 2
--build --num_osds 3
-i b.map --tree
-i classes.bin --tree
-i choose-args.bin --tree
-i b.map --dump
-i classes.bin --dump --format json
-i b.map --check 10
-i b.map --check
-i b.map --show-location 3
-i b.map --bucket-tree --bucket-name rack1
-i b.map --bucket-tree
-i b.map --test
-i b.map --test --show-mappings --show-bad-mappings --show-utilization --num-rep 9 --min-x 0 --max-x 5000
-i b.map --test --show-utilization-all --num-rep 2 --min-x 5 --max-x 900 --weight 3 0 --weight 4 0.5
-i b.map --test --show-choose-tries --num-rep 3
-i b.map --test --show-mappings --num-rep=2 --x=4 --weight=3 0
-i b.map --test --show_mappings --num_rep 2 --min_x 1 --max_x 4 --pool-id 3
-i b.map --test --show-statistics --rule 3 --x 4
-i ec.bin --test --show-choose-tries --show-statistics --show-bad-mappings --weight 3 0
-i b.map --test --show-mappings --num-rep zz
-i b.map --test --show-mappings --num-rep
-i b.map --weight 3
-i b.map
--bogus
-i b.map --add-item 20 1.5 osd.20 --loc rack rack9 --loc root root -o out.map
-i b.map --add-item 33 1.5 osd.33 --loc rack rack9 -o out.map
-i b.map --add-item 30 1 osd.30 --loc nodd node0 --loc root root -o out.map
-i b.map --add-item 30 1 osd.3 --loc node node0
-i b.map --add-item 50 1 osd.50
-i b.map --add-item 30 1
-i b.map --update-item 3 4.5 osd.3 --loc node node6 -o out.map
-i b.map --update-item 3 4.5 osd.3 --loc node node1 -o out.map
-i b.map --reweight-item osd.3 2 --remove-item osd.4
-i b.map --reweight-item osd.3 2.37 -o out.map
-i b.map --reweight-item nope 2
-i b.map --remove-item osd.19 -o out.map
-i b.map --remove-item nope
-i b.map --remove-item node1
-i b.map --move osd.3 --loc node node4 -o out.map
-i b.map --move node3 --loc rack rack0 -o out.map
-i b.map --move nope --loc node nonode
-i b.map --move osd.3
-i b.map --add-bucket rx rack --loc root root -o out.map
-i b.map --add-bucket rx rack -o out.map
-i b.map --create-simple-rule sr root node firstn -o out.map
-i b.map --create-simple-rule sr root osd indep -o out.map
-i b.map --create-simple-rule sr nope node firstn
-i b.map --create-simple-rule sr root nope firstn
-i b.map --create-simple-rule sr root node nope
-i b.map --create-simple-rule sr root osd firstn --device-class ssd
-i classes.bin --create-simple-rule sr default host firstn --device-class ssd -o out.map
-i b.map --create-replicated-rule rr root rack -o out.map
-i b.map --remove-rule nope -o out.map
-i b.map --remove-rule replicated_rule -o out.map
-i b.map --reweight -o out.map
-i classes.bin --reweight -o out.map
-i classes.bin --rebuild-class-roots -o out.map
-i classes.bin --add-item 40 1 osd.40 --loc host host1 --loc root default -o out.map
-i alg-straw.bin --add-item 90 1 osd.90 --loc host host1 -o out.map
-i b.map --set-choose-local-tries 1 --set-choose-local-fallback-tries 2 --set-choose-total-tries 40 -o out.map
-i b.map --set-chooseleaf-descend-once 0 --set-chooseleaf-vary-r 2 --set-chooseleaf-stable 0 --set-straw-calc-version 0 -o out.map
`

// osdmaptoolLines likewise.
const osdmaptoolLines = `
om-plain.osdmap --print
om-plain.osdmap --dump plain
om-plain.osdmap --dump json
om-plain.osdmap --test-map-pgs
om-states.osdmap --test-map-pgs --pool 1
om-states.osdmap --test-map-pgs-dump
om-temp-upmap.osdmap --test-map-pgs-dump-all
om-plain.osdmap --test-map-pgs --pool 1 --pg_num 400
om-plain.osdmap --test-map-pgs --pool 99
om-states.osdmap --mark-up-in --test-map-pgs
om-plain.osdmap --mark-out 3 --test-map-pgs
om-plain.osdmap --test-map-object foo
om-plain.osdmap --test-map-object foo --pool 3
om-plain.osdmap --test-map-object foo --pool 77
om-plain.osdmap --test-map-pg 1.3
om-plain.osdmap --export-crush out.map
om-plain.osdmap --import-crush nofile
om-plain.osdmap --createsimple 5
new --createsimple 0
nofile --print
junk --print
`

func TestCrushtoolLikeOriginal(t *testing.T) {
	compareTools(t, "crushtool", crushtoolLines, crushtoolCommand)
}

func TestOSDMapToolLikeOriginal(t *testing.T) {
	compareTools(t, "osdmaptool", osdmaptoolLines, osdmaptoolCommand)
}

func compareTools(t *testing.T, name, lines string, cmd func() *cobra.Command) {
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s (Debian: ceph-base) is not installed", name)
	}
	dir := mapDir(t)
	for line := range strings.Lines(lines) {
		args := strings.Fields(line)
		if len(args) == 0 {
			continue
		}
		want := runOriginal(t, path, dir, args)
		got := runTool(t, cmd(), dir, args)
		if strings.HasPrefix(line, "-c junk") {
			// What is wrong with a text, each says in its own words.
			got.err, want.err = "", ""
		}
		if got.status != want.status || !bytes.Equal(got.written, want.written) {
			t.Errorf("%s %v: status %d, %d bytes written; original %d, %d", name, args, got.status, len(got.written),
				want.status, len(want.written))
		}
		if got.out != want.out {
			t.Errorf("%s %v: output:\n%.300s\noriginal:\n%.300s", name, args, got.out, want.out)
		}
		if got.err != want.err {
			t.Errorf("%s %v: stderr:\n%.300s\noriginal:\n%.300s", name, args, got.err, want.err)
		}
	}
}

// TestXML takes a map through XML and back.
func TestXML(t *testing.T) {
	dir := mapDir(t)
	for _, name := range []string{"classes.bin", "choose-args.bin", "b.map"} {
		want, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if r := runTool(t, crushtoolCommand(), dir, []string{"-i", name, "--export-xml", "x.xml"}); r.status != 0 || r.err+r.out != "" {
			t.Fatalf("%s: %+v", name, r)
		}
		r := runTool(t, crushtoolCommand(), dir, []string{"--import-xml", "x.xml", "-o", "out.map"})
		if r.status != 0 || !bytes.Equal(r.written, want) {
			t.Errorf("%s: another map after XML: status %d, %s", name, r.status, r.err)
		}
	}
	bad := []byte("<crushmap max_devices='1'>\n<types><type id='x'/></types></crushmap>")
	if err := os.WriteFile(filepath.Join(dir, "bad.xml"), bad, 0o600); err != nil {
		t.Fatal(err)
	}
	r := runTool(t, crushtoolCommand(), dir, []string{"--import-xml", "bad.xml", "-o", "out.map"})
	if r.status != 1 || !strings.Contains(r.err, "line 2") {
		t.Errorf("XML that is none: %+v", r)
	}
}

// TestOSDMapTool makes a map, changes its CRUSH map and evens it out.
func TestOSDMapTool(t *testing.T) {
	dir := mapDir(t)
	run := func(want string, args ...string) string {
		t.Helper()
		r := runTool(t, osdmaptoolCommand(), dir, args)
		if r.status != 0 || !strings.Contains(r.out, want) {
			t.Fatalf("%v: status %d, output %q, stderr %q, want %q", args, r.status, r.out, r.err, want)
		}
		return r.out
	}
	run("osdmaptool: writing epoch 1 to new\n", "new", "--createsimple", "6", "--with-default-pool", "--pg-bits", "5")
	run("pool 1 'rbd' replicated size 3 min_size 2 crush_rule 0 object_hash rjenkins pg_num 192", "new", "--print")
	run("exported crush map to c", "new", "--export-crush", "c")
	if r := runTool(t, crushtoolCommand(), dir, strings.Fields("-i c --reweight-item osd.2 3 -o c2")); r.status != 0 {
		t.Fatal(r)
	}
	run("osdmaptool: writing epoch 3 to new\n", "new", "--import-crush", "c2")
	run("osd.2\t", "new", "--mark-up-in", "--test-map-pgs")

	out := run("prepared 10/10 changes", "om-plain.osdmap", "--upmap", "-", "--upmap-deviation", "1")
	if !strings.Contains(out, "\nceph osd pg-upmap-items ") {
		t.Errorf("no commands in %q", out)
	}
	run("writing upmap command output to: cmds\n", "om-plain.osdmap", "--upmap", "cmds", "--upmap-deviation", "1",
		"--upmap-max", "500", "--save")
	cmds, err := os.ReadFile(filepath.Join(dir, "cmds"))
	if err != nil || bytes.Count(cmds, []byte("\n")) < 20 {
		t.Errorf("%d bytes of commands, %v", len(cmds), err)
	}
	run("prepared 0/10 changes\nUnable to find further optimization", "om-plain.osdmap", "--upmap", "-", "--upmap-deviation", "1")
}
