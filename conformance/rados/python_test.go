package rados

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestPythonBindings runs testdata/librados.py with Debian's python3-rados.
func TestPythonBindings(t *testing.T) {
	needs(t, "python3", "ceph")
	t.Parallel()
	s := newShell(t, judged(t))
	script, err := filepath.Abs("testdata/librados.py")
	if err != nil {
		t.Fatal(err)
	}
	r := s.try("python3", script, s.pool())
	if r.status != 0 || !strings.HasSuffix(r.out, "all hold\n") {
		t.Errorf("status %d\n%s%s", r.status, r.out, r.errs)
	}
}
