package clients

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spirula/spirula/conformance/launch"
)

func TestMain(m *testing.M) { os.Exit(launch.Main(m)) }

// shell runs clients against one server, away from the user's settings.
type shell struct {
	*testing.T
	s   *launch.Server
	dir string
	env []string
}

// debian finds Debian's program, whatever comes first in PATH.
func debian(t *testing.T, name, deb string) string {
	t.Helper()
	p := "/usr/bin/" + name
	if _, err := os.Stat(p); err != nil {
		msg := fmt.Sprintf("%s is missing: apt-get install %s", p, deb)
		if os.Getenv("SPIRULA_CLIENTS") == "1" {
			t.Fatal(msg)
		}
		t.Skip(msg)
	}
	if os.Getenv("SPIRULA_CLIENTS") != "1" {
		t.Skip("set SPIRULA_CLIENTS=1 to run this")
	}
	return p
}

func newShell(t *testing.T) *shell {
	t.Helper()
	s := &shell{T: t, s: launch.Start(t), dir: t.TempDir()}
	for _, e := range os.Environ() {
		// An environment for another Python confuses Debian's programs.
		if k, _, _ := strings.Cut(e, "="); !strings.HasPrefix(k, "AWS_") && !strings.HasPrefix(k, "PYTHON") && k != "HOME" && k != "PATH" {
			s.env = append(s.env, e)
		}
	}
	s.env = append(s.env, "HOME="+s.dir, "PATH=/usr/bin:/bin", "AWS_CONFIG_FILE="+s.dir+"/aws-config", "AWS_SHARED_CREDENTIALS_FILE="+s.dir+"/aws-credentials",
		"AWS_ACCESS_KEY_ID="+launch.AccessKey, "AWS_SECRET_ACCESS_KEY="+launch.SecretKey, "AWS_DEFAULT_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=")
	return s
}

func (s *shell) try(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env, cmd.Dir = s.env, s.dir
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s%s", filepath.Base(name), strings.Join(args, " "), err, out, errs.String())
	}
	return string(out), err
}

func (s *shell) run(name string, args ...string) string {
	s.Helper()
	begin := time.Now()
	out, err := s.try(name, args...)
	if err != nil {
		s.Fatal(err)
	}
	s.Logf("%5.1f s  %s %s", time.Since(begin).Seconds(), filepath.Base(name), strings.Join(args, " "))
	return out
}

func (s *shell) file(name string, n int) []byte {
	s.Helper()
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n), byte(len(name))}).Read(b)
	name = filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o644); err != nil {
		s.Fatal(err)
	}
	return b
}

func (s *shell) same(name string, want []byte) {
	s.Helper()
	if got, err := os.ReadFile(filepath.Join(s.dir, name)); err != nil || !bytes.Equal(got, want) {
		s.Errorf("%s: %d bytes, %v, want %d", name, len(got), err, len(want))
	}
}

func TestAWS(t *testing.T) {
	exe, curl := debian(t, "aws", "awscli"), debian(t, "curl", "curl")
	s := newShell(t)
	aws := func(args ...string) string {
		t.Helper()
		return s.run(exe, append([]string{"--endpoint-url", "http://" + s.s.S3}, args...)...)
	}
	aws("s3", "mb", "s3://bucket")
	big := s.file("big", 64<<20+77) // multipart up, ranges down
	aws("s3", "cp", "--quiet", "big", "s3://bucket/big")
	aws("s3", "cp", "--quiet", "s3://bucket/big", "big.back")
	s.same("big.back", big)
	if out := aws("s3api", "head-object", "--bucket", "bucket", "--key", "big", "--query", "ETag", "--output", "text"); !strings.Contains(out, `-9"`) {
		t.Errorf("64 MiB in parts of 8 MiB has the ETag %s", out)
	}

	names := []string{"a", "sub/b", "sub/deep/c d", "ünï"}
	for i, n := range names {
		s.file("tree/"+n, i*1000)
	}
	for i := range 200 {
		s.file(fmt.Sprintf("tree/many/%03d", i), i)
	}
	aws("s3", "sync", "--quiet", "tree", "s3://bucket/tree")
	if out := aws("s3", "sync", "tree", "s3://bucket/tree"); strings.TrimSpace(out) != "" {
		t.Errorf("a second sync does something: %s", out)
	}
	aws("s3", "sync", "--quiet", "s3://bucket/tree", "back")
	s.run("/usr/bin/diff", "-r", "tree", "back")

	small := s.file("small", 1234)
	aws("s3", "cp", "--quiet", "small", "s3://bucket/dir/small")
	url := strings.TrimSpace(aws("s3", "presign", "s3://bucket/dir/small"))
	s.run(curl, "-sSf", "-o", "small.back", url)
	s.same("small.back", small)
	if out, err := s.try(curl, "-sSf", "-o", "/dev/null", url+"x"); err == nil {
		t.Errorf("a changed URL was taken: %s", out)
	}

	if out := aws("s3", "ls", "s3://bucket/"); !strings.Contains(out, "PRE dir/") || !strings.Contains(out, fmt.Sprintf("%d big", len(big))) {
		t.Errorf("ls: %s", out)
	}
	if out := aws("s3", "ls", "--recursive", "s3://bucket/tree/"); strings.Count(out, "\n") != len(names)+200 {
		t.Errorf("ls --recursive: %s", out)
	}
	if out := aws("s3", "ls"); !strings.Contains(out, "bucket") {
		t.Errorf("ls of buckets: %s", out)
	}
	aws("s3", "mv", "--quiet", "s3://bucket/dir/small", "s3://bucket/moved")
	aws("s3", "cp", "--quiet", "s3://bucket/big", "s3://bucket/big.copy") // UploadPartCopy
	aws("s3", "cp", "--quiet", "s3://bucket/big.copy", "copy.back")
	s.same("copy.back", big)
	aws("s3", "cp", "--quiet", "s3://bucket/moved", "moved.back")
	s.same("moved.back", small)
	if out, err := s.try(exe, "--endpoint-url", "http://"+s.s.S3, "s3", "ls", "s3://bucket/dir/"); err == nil {
		t.Errorf("what was moved is there: %s", out)
	}
	aws("s3", "rm", "--quiet", "--recursive", "s3://bucket/")
	if out := aws("s3", "ls", "--recursive", "s3://bucket"); out != "" {
		t.Errorf("after rm --recursive: %s", out)
	}
	aws("s3", "rb", "s3://bucket")
}

func TestS3cmd(t *testing.T) {
	exe := debian(t, "s3cmd", "s3cmd")
	s := newShell(t)
	host, _, err := net.SplitHostPort(s.s.S3)
	if err != nil || host == "" {
		t.Fatal(err)
	}
	conf := fmt.Sprintf("[default]\naccess_key = %s\nsecret_key = %s\nhost_base = %s\nhost_bucket = %s\nuse_https = False\n", launch.AccessKey, launch.SecretKey, s.s.S3, s.s.S3)
	if err := os.WriteFile(filepath.Join(s.dir, "s3cfg"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	s3cmd := func(args ...string) string {
		t.Helper()
		return s.run(exe, slices.Concat([]string{"-c", "s3cfg", "--no-progress"}, args)...)
	}
	s3cmd("mb", "s3://bucket")
	big, small := s.file("big", 33<<20), s.file("small", 321)
	s3cmd("put", "big", "s3://bucket/dir/big") // multipart, 15 MiB a part
	s3cmd("put", "small", "s3://bucket/dir/small file")
	s3cmd("get", "s3://bucket/dir/big", "big.back")
	s.same("big.back", big)
	s3cmd("get", "s3://bucket/dir/small file", "small.back")
	s.same("small.back", small)
	if out := s3cmd("ls", "s3://bucket/"); !strings.Contains(out, "DIR") || !strings.Contains(out, "s3://bucket/dir/") {
		t.Errorf("ls: %s", out)
	}
	if out := s3cmd("ls", "s3://bucket/dir/"); !strings.Contains(out, "small file") || !strings.Contains(out, fmt.Sprint(len(big))) {
		t.Errorf("ls: %s", out)
	}
	if out := s3cmd("info", "s3://bucket/dir/small file"); !strings.Contains(out, "321") {
		t.Errorf("info: %s", out)
	}
	s3cmd("mv", "s3://bucket/dir/small file", "s3://bucket/moved")
	s3cmd("del", "s3://bucket/moved")
	s3cmd("del", "--recursive", "--force", "s3://bucket/")
	if out := s3cmd("la"); strings.TrimSpace(out) != "" {
		t.Errorf("after del: %s", out)
	}
	s3cmd("rb", "s3://bucket")
}
