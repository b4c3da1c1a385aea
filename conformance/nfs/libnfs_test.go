package nfs

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spirula/spirula/conformance/launch"
)

// TestLibnfs moves files with libnfs's tools, which mount for themselves.
func TestLibnfs(t *testing.T) {
	var missing error
	for _, tool := range []string{"nfs-ls", "nfs-cat", "nfs-cp"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing = fmt.Errorf("%s is missing: apt-get install libnfs-utils", tool)
		}
	}
	need(t, missing)
	s := launch.Start(t)
	c := s3Client(s)
	makeBucket(t, c, "bucket")
	_, port, err := net.SplitHostPort(s.NFS)
	if err != nil {
		t.Fatal(err)
	}
	url := func(path string) string {
		return "nfs://127.0.0.1/" + path + "?version=3&nfsport=" + port + "&mountport=" + port
	}
	content := make([]byte, 5<<20+123)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range content {
		content[i] = byte(rnd.Uint32())
	}
	local := filepath.Join(t.TempDir(), "local")
	if err := os.WriteFile(local, content, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := putObject(c, "bucket", "dir/by-s3", content); err != nil {
		t.Fatal(err)
	}
	if got := run(t, ".", "nfs-cat", url("bucket/dir/by-s3")); got != strings.TrimSpace(string(content)) {
		t.Errorf("nfs-cat gave %d bytes that differ", len(got))
	}
	run(t, ".", "nfs-cp", local, url("bucket/by-nfs"))
	if got, err := getObject(c, "bucket", "by-nfs"); err != nil || !bytes.Equal(got, content) {
		t.Errorf("after nfs-cp: %d bytes, %v", len(got), err)
	}
	back := filepath.Join(t.TempDir(), "back")
	run(t, ".", "nfs-cp", url("bucket/by-nfs"), back)
	if got, err := os.ReadFile(back); err != nil || !bytes.Equal(got, content) {
		t.Errorf("nfs-cp back: %d bytes, %v", len(got), err)
	}
	if out := run(t, ".", "nfs-ls", "-R", url("bucket")); !strings.Contains(out, "by-nfs") || !strings.Contains(out, "by-s3") {
		t.Errorf("nfs-ls: %s", out)
	}
	if out := run(t, ".", "nfs-ls", url("")); !strings.Contains(out, "bucket") {
		t.Errorf("nfs-ls of the export: %s", out)
	}
}
