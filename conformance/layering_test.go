// Package conformance holds the rules that the whole tree obeys, as tests.
package conformance

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/spirula/spirula"

// pkg is what `go list` says of a package.
type pkg struct {
	ImportPath, Dir string
	GoFiles         []string
	IgnoredGoFiles  []string
	Imports         []string
	TestImports     []string
	XTestImports    []string
}

// name is the path inside the module.
func (p pkg) name() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,IgnoredGoFiles,Imports,TestImports,XTestImports", module+"/...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	if len(list) < 20 {
		t.Fatalf("go list found %d packages: this test looks at nothing", len(list))
	}
	return list
}

// arrows says which parts of the tree a part may import, besides itself.
var arrows = map[string][]string{
	"crush":       {},
	"rados":       {"crush"},
	"mon":         {"rados", "crush", "osd/disk", "osd/kv"},
	"osd":         {"rados", "crush"},
	"mds":         {"rados"},
	"gateway":     {"mds", "rados"},
	"cmd":         {"gateway", "mds", "mon", "osd", "rados", "crush"},
	"conformance": {"cmd", "gateway", "mds", "mon", "osd", "rados", "crush"},
}

// within tells whether a package is dir or below it.
func within(name, dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }

func TestImportsFollowTheArrows(t *testing.T) {
	for _, p := range packages(t) {
		part, _, _ := strings.Cut(p.name(), "/")
		allowed, ok := arrows[part]
		if !ok {
			t.Errorf("%s is in no part that ARCHITECTURE.md knows", p.ImportPath)
			continue
		}
		for _, imp := range p.Imports {
			target, ours := strings.CutPrefix(imp, module+"/")
			if !ours || within(target, part) {
				continue
			}
			if !slices.ContainsFunc(allowed, func(a string) bool { return within(target, a) }) {
				t.Errorf("%s imports %s, against the arrows", p.name(), target)
			}
		}
		if part == "conformance" {
			continue
		}
		for _, imp := range slices.Concat(p.TestImports, p.XTestImports) {
			if target, ours := strings.CutPrefix(imp, module+"/"); ours && within(target, "conformance") {
				t.Errorf("a test of %s imports %s", p.name(), target)
			}
		}
	}
}

// TestTestAidsStayInTests keeps twins and suites out of the program.
func TestTestAidsStayInTests(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", module+"/cmd/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.FieldsSeq(string(out)) {
		if dep == "testing" || strings.HasPrefix(dep, module) && strings.HasSuffix(dep, "test") {
			t.Errorf("the program contains %s", dep)
		}
	}
}

// shapeless are names that say nothing of what is inside.
var shapeless = []string{"util", "utils", "common", "helper", "helpers", "types", "base", "misc", "shared", "lib"}

// maxLines bounds a file that is no test.
const maxLines = 600

func TestFiles(t *testing.T) {
	for _, p := range packages(t) {
		if slices.Contains(shapeless, filepath.Base(p.ImportPath)) {
			t.Errorf("%s: the name says nothing", p.ImportPath)
		}
		documented := len(p.GoFiles) == 0
		for _, f := range slices.Concat(p.GoFiles, p.IgnoredGoFiles) {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			name := filepath.Join(p.Dir, f)
			src, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			where := filepath.Join(p.name(), f)
			if n := strings.Count(string(src), "\n"); n > maxLines && !ast.IsGenerated(file) {
				t.Errorf("%s has %d lines, over %d", where, n, maxLines)
			}
			documented = documented || file.Doc != nil && strings.TrimSpace(file.Doc.Text()) != ""
			checkDecls(t, where, file)
		}
		if !documented {
			t.Errorf("%s has no package comment", p.name())
		}
	}
}

// checkDecls wants a comment at every exported name, and no init.
func checkDecls(t *testing.T, where string, file *ast.File) {
	missing := func(name string) { t.Errorf("%s: %s is exported without a comment", where, name) }
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil && d.Name.Name == "init" {
				t.Errorf("%s: init()", where)
			}
			if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) && !wellKnown[d.Name.Name] {
				missing(d.Name.Name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					if s.Name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
						missing(s.Name.Name)
					}
				case *ast.ValueSpec:
					for _, n := range s.Names {
						if n.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
							missing(n.Name)
						}
					}
				}
			}
		}
	}
}

// wellKnown are methods whose meaning an interface of the standard library
// gives.
var wellKnown = map[string]bool{"Error": true, "String": true, "Unwrap": true, "Is": true, "Len": true, "Less": true, "Swap": true,
	"Read": true, "Write": true, "Close": true, "ServeHTTP": true, "MarshalText": true, "UnmarshalText": true, "MarshalJSON": true,
	"UnmarshalJSON": true, "LogValue": true, "Format": true, "GoString": true, "WriteTo": true, "WriteHeader": true, "Header": true, "Flush": true}

// exportedReceiver tells whether somebody outside can call d.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return true
	}
	typ := d.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.IndexListExpr:
			typ = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}
