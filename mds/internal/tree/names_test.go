package tree

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/spirula/spirula/rados/wire"
)

func TestNames(t *testing.T) {
	for _, c := range []struct {
		token string
		twin  bool
		want  string
	}{
		{"a", false, "a"}, {"a", true, ".%f=a"}, {"a/", false, "a"},
		{"", false, ".%f="}, {"/", false, ".%d="},
		{"../", false, ".%d=.."}, {".", false, ".%f=."}, {".snap", false, ".%f=.snap"}, {".snapx", false, ".snapx"},
		{"x\x00%", false, ".%f=x%00%25"}, {"100%", false, "100%"}, {".%f=a", false, ".%f=.%25f=a"},
		{strings.Repeat("n", 255), false, strings.Repeat("n", 255)},
		{strings.Repeat("n", 256), false, ".%F=" + strings.Repeat("n", 180) + "~" + "gqvkv5na7syyzosbh4ap6rx7zg"},
		{"\xff\xfe/", false, "\xff\xfe"},
	} {
		if got := NameOf(c.token, c.twin); got != c.want {
			t.Errorf("%q (twin %v) is shown as %q, want %q", c.token, c.twin, got, c.want)
		}
	}
	for name, want := range map[string]wire.Errno{
		".%": wire.EINVAL, ".%f": wire.EINVAL, ".%x=a": wire.EINVAL, ".%d=a": wire.EINVAL, ".%f=%2f": wire.EINVAL,
		".%f=100%": wire.EINVAL, ".": wire.EINVAL, "": wire.EINVAL, "a/b": wire.EINVAL, "x\x00": wire.EINVAL,
		".snap": wire.EINVAL, strings.Repeat("x", 256): wire.ENAMETOOLONG,
		NameOf(strings.Repeat("n", 300), false): wire.ENAMETOOLONG,
	} {
		if _, err := TokenFor(name, false); wire.ErrnoOf(err) != want {
			t.Errorf("a file %q: %v, want %v", name, err, want)
		}
	}
}

// TestNamesRandom: shown names are unique in a directory, lawful over NFS, and
// lead back to their token.
func TestNamesRandom(t *testing.T) {
	alphabet := []string{"\x00", "%", ".", "2", "5", "0", "f", "=", "~", "a", "\xff", ".snap", ".%f=", strings.Repeat("z", 90)}
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 81))
		w := newWorld(t, Options{})
		w.mkdir(10)
		a := &actor{r, w, 10}
		for range 80 {
			var c strings.Builder
			for range r.IntN(6) {
				c.WriteString(alphabet[r.IntN(len(alphabet))])
			}
			for _, token := range [][]string{{c.String()}, {c.String() + "/"}, {c.String(), c.String() + "/"}}[r.IntN(3)] {
				if w.model[10][token] == nil {
					w.put(10, token, a.dentry(w.dirs[10].Dir.NextSeq))
				}
			}
		}
		dir := *w.dirs[10].Dir
		dir.Subdirs = 1
		w.setDir(w.dirs[10], &dir)
		w.must(w.flush(w.end()))
		w.crash(2, 0)
		in := *w.dirs[10]
		in.Dir = &dir
		shown := make(map[string]string)
		for token := range w.model[10] {
			var name, back string
			w.must(w.ask(func() (err error) { name, err = w.tree.ShownName(&in, token); return err }))
			if len(name) == 0 || len(name) > maxName || strings.ContainsAny(name, "\x00/") || name == "." || name == ".." {
				t.Fatalf("seed %d: %q is shown as %q", seed, token, name)
			}
			if other, ok := shown[name]; ok {
				t.Fatalf("seed %d: %q and %q are both shown as %q", seed, token, other, name)
			}
			shown[name] = token
			err := w.ask(func() (err error) { back, _, err = w.tree.Lookup(&in, name); return err })
			if err != nil || back != token {
				t.Fatalf("seed %d: %q, shown as %q, leads to %q, %v", seed, token, name, back, err)
			}
			made, err := TokenFor(name, IsDirToken(token))
			if long := len(name) > 4 && (name[:3] == ".%F" || name[:3] == ".%D"); long && wire.ErrnoOf(err) != wire.ENAMETOOLONG || !long && (err != nil || made != token) {
				t.Fatalf("seed %d: making %q makes %q, %v, want %q", seed, name, made, err, token)
			}
		}
		for _, c := range []struct {
			name string
			want wire.Errno
		}{{"nothing", wire.ENOENT}, {".%f=nothing", wire.ENOENT}, {".%f=%", wire.EINVAL}, {"a/b", wire.EINVAL},
			{NameOf(strings.Repeat("q", 300), false), wire.ENOENT}} {
			if err := w.ask(func() error { _, _, err := w.tree.Lookup(&in, c.name); return err }); wire.ErrnoOf(err) != c.want {
				t.Fatalf("seed %d: looking up %q: %v, want %v", seed, c.name, err, c.want)
			}
		}
	}
}

// FuzzNames: whatever a client sends as a name, it is refused or it is the
// name of its token.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"a", ".%f=a", ".%d=%25%00", ".%F=" + strings.Repeat("n", 180) + "~" + strings.Repeat("a", 26), ".%%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		for _, isDir := range []bool{false, true} {
			token, err := TokenFor(name, isDir)
			if err != nil {
				continue
			}
			if got := NameOf(token, strings.HasPrefix(name, ".%")); got != name {
				t.Errorf("%q makes %q, which is shown as %q", name, token, got)
			}
		}
		if e, ok := parseEscaped(name); ok && strings.HasPrefix(name, ".%") && !e.long && NameOf(e.token(), true) != name && len(name) <= maxName {
			t.Errorf("%q passes for canonical", name)
		}
	})
}

func TestTokens(t *testing.T) {
	for key, want := range map[string]string{"a": "a", "a/": "a/|", "a//b": "a/|/|b", "": "", "/": "/|", "a/b/c": "a/|b/|c"} {
		if got := strings.Join(Tokens(key), "|"); got != want {
			t.Errorf("%q splits into %q, want %q", key, got, want)
		}
	}
	if IsDirToken("a") || !IsDirToken("a/") || IsDirToken("") {
		t.Error("IsDirToken")
	}
}
