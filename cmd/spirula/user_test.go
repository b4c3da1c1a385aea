package main

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestRunningCommands asks a running spirula: status, and users from their
// making to their end.
func TestRunningCommands(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	o, e, code := spirula(t, nil, "status", "--dir", dir)
	wantFailure(t, "status of nothing", o, e, code, 1, "no spirula runs", dir)
	o, e, code = spirula(t, nil, "user", "ls", "--status", "127.0.0.1:1")
	wantFailure(t, "users of nothing", o, e, code, 1, "no spirula answers", "spirula up")

	d := upDaemon(t, []string{"SPIRULA_ACCESS_KEY=first-key", "SPIRULA_SECRET_KEY=first-secret"}, anyPorts(dir)...)
	if d.banner["access key"] != "first-key" || d.banner["secret key"] != "first-secret" {
		t.Errorf("keys by the environment: %v", d.banner)
	}
	statusAddr := strings.TrimPrefix(d.banner["status"], "http://")
	for _, where := range [][]string{{"--dir", dir}, {"--status", statusAddr}} {
		out, stderr, code := spirula(t, nil, append([]string{"status", "-o", "json"}, where...)...)
		var r report
		if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 {
			t.Fatalf("status %v: %d %v %s %s", where, code, err, out, stderr)
		}
		if r.Directory != dir || r.S3 != d.banner["S3 endpoint"] || r.Health == "" || r.FSID == "" || r.Total == 0 || r.Config["secret-key"] == "first-secret" {
			t.Errorf("status: %+v", r)
		}
	}
	if out, _, code := spirula(t, nil, "status", "--dir", dir); code != 0 || !strings.Contains(out, dir) {
		t.Errorf("status: %d %s", code, out)
	}

	user := func(args ...string) userInfo {
		t.Helper()
		out, stderr, code := spirula(t, nil, append(append([]string{"user"}, args...), "--dir", dir, "-o", "json")...)
		var u userInfo
		if err := json.Unmarshal([]byte(out), &u); err != nil || code != 0 {
			t.Fatalf("user %v: %d %v %s %s", args, code, err, out, stderr)
		}
		return u
	}
	works := func(k keyInfo) error {
		c := s3.New(s3.Options{BaseEndpoint: aws.String(d.banner["S3 endpoint"]), UsePathStyle: true, Region: "us-east-1", RetryMaxAttempts: 1,
			Credentials: credentials.NewStaticCredentialsProvider(k.AccessKey, k.SecretKey, "")})
		_, err := c.ListBuckets(context.Background(), &s3.ListBucketsInput{})
		return err
	}
	ann := user("add", "ann", "--uid", "1001", "--gid", "1002")
	if ann.Name != "ann" || ann.UID != 1001 || ann.GID != 1002 || ann.Admin || len(ann.Keys) != 1 {
		t.Fatalf("user add: %+v", ann)
	}
	if err := works(ann.Keys[0]); err != nil {
		t.Errorf("ann's key: %v", err)
	}
	bob := user("add", "bob", "--access-key", "bobs-key", "--secret-key", "bobs-secret")
	if len(bob.Keys) != 1 || bob.Keys[0].AccessKey != "bobs-key" || works(bob.Keys[0]) != nil {
		t.Errorf("user add with keys: %+v", bob)
	}
	if got := user("key", "ann"); got.Keys[0] != ann.Keys[0] {
		t.Errorf("user key: %+v, want %+v", got, ann)
	}
	out, _, code := spirula(t, nil, "user", "ls", "--dir", dir)
	if code != 0 || !strings.Contains(out, "ann") || !strings.Contains(out, "bob") || !strings.Contains(out, "admin") || strings.Contains(out, ann.Keys[0].SecretKey) {
		t.Errorf("user ls: %d %s", code, out)
	}
	changed := user("key", "ann", "--new")
	if len(changed.Keys) != 1 || changed.Keys[0] == ann.Keys[0] || works(changed.Keys[0]) != nil {
		t.Errorf("user key --new: %+v", changed)
	}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"user", "add", "ann"}, 1, "exists"},
		{[]string{"user", "add", "with space"}, 1, "with space"},
		{[]string{"user", "add"}, 2, "name"},
		{[]string{"user", "add", "x", "--access-key", "abc"}, 2, "both"},
		{[]string{"user", "add", "x", "--access-key", "bobs-key", "--secret-key", "other-secret"}, 1, "exists"},
		{[]string{"user", "rm", "nobody"}, 1, "not found"},
		{[]string{"user", "key", "nobody"}, 1, "not found"},
	} {
		o, e, code := spirula(t, nil, append(c.args, "--dir", dir)...)
		wantFailure(t, strings.Join(c.args, " "), o, e, code, c.code, c.says)
	}
	if _, stderr, code := spirula(t, nil, "user", "rm", "bob", "--dir", dir); code != 0 {
		t.Errorf("user rm: %d %s", code, stderr)
	}
	if works(bob.Keys[0]) == nil {
		t.Error("a removed user's key works")
	}
}
