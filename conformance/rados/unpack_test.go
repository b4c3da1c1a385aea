package rados

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// Debian 12's ceph-test has no programs in it; those of Debian 13 (Ceph 18.2)
// run anywhere with the libraries they came with. They are unpacked below the
// user's cache directory, and nothing is installed.

// unpackTimeout bounds the download of some 150 MB, and its unpacking.
const unpackTimeout = 10 * time.Minute

// errCannotUnpack is what a machine lacks for this.
var errCannotUnpack = errors.New("test programs of Ceph cannot be fetched here")

var unpacked struct {
	once sync.Once
	root string
	err  error
}

// programs gives the directory with Ceph's test programs and their libraries:
// that of SPIRULA_CEPH_TESTS, or what was unpacked before, or unpacks it.
func programs(t *testing.T) string {
	t.Helper()
	unpacked.once.Do(func() {
		if unpacked.root = os.Getenv("SPIRULA_CEPH_TESTS"); unpacked.root != "" {
			return
		}
		unpacked.root, unpacked.err = unpack()
	})
	if errors.Is(unpacked.err, errCannotUnpack) {
		t.Skipf("NOT RUN: Ceph's own tests: %v", unpacked.err)
	}
	if unpacked.err != nil {
		t.Fatal(unpacked.err)
	}
	return unpacked.root
}

func unpack() (string, error) {
	if runtime.GOOS+runtime.GOARCH != "linuxamd64" || os.Getuid() != 0 {
		return "", fmt.Errorf("%w: that needs root on linux/amd64", errCannotUnpack)
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return "", fmt.Errorf("%w: %v", errCannotUnpack, err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	root := filepath.Join(cache, "spirula-ceph-test-trixie")
	if _, err := os.Stat(root); err == nil {
		return root, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(cache, "spirula-unpack-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	if err := download(work); err != nil {
		return "", err
	}
	// Only a whole one gets the name.
	if err := extract(work, filepath.Join(work, "root")); err != nil {
		return "", err
	}
	return root, os.Rename(filepath.Join(work, "root"), root)
}

// mirror is where this machine gets Debian from.
func mirror() string {
	for _, name := range []string{"/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"} {
		b, _ := os.ReadFile(name)
		if m := regexp.MustCompile(`(?m)^(?:URIs:|deb(?: \[[^]]*\])?)\s+(\S+/debian/?)(?:\s|$)`).FindSubmatch(b); m != nil {
			return string(m[1])
		}
	}
	return "http://deb.debian.org/debian"
}

// download has apt fetch ceph-test and all it depends on as if nothing was
// installed, with lists, cache and state below work.
func download(work string) error {
	for _, d := range []string{"lists/partial", "parts", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(work, d), 0o755); err != nil {
			return err
		}
	}
	source := fmt.Sprintf("Types: deb\nURIs: %s\nSuites: trixie\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n", mirror())
	for name, text := range map[string]string{"parts/trixie.sources": source, "status": ""} {
		if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	var opts []string
	for _, o := range []string{"Dir::Etc::sourcelist=/dev/null", "Dir::Etc::sourceparts=" + work + "/parts", "Dir::State::lists=" + work + "/lists",
		"Dir::State::status=" + work + "/status", "Dir::State::extended_states=" + work + "/extended", "Dir::Cache=" + work + "/cache", "APT::Sandbox::User=root"} {
		opts = append(opts, "-o", o)
	}
	if err := runFor(unpackTimeout, "apt-get", append(opts, "update", "-q", "--error-on=any")...); err != nil {
		return fmt.Errorf("%w: %v", errCannotUnpack, err)
	}
	if err := runFor(unpackTimeout, "apt-get", append(opts, "install", "-q", "-y", "--no-install-recommends", "--download-only", "ceph-test", "ceph-common")...); err != nil {
		return fmt.Errorf("%w: %v", errCannotUnpack, err)
	}
	return nil
}

func extract(work, root string) error {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(work, "cache/archives/*.deb"))
	if err != nil || len(debs) == 0 {
		return fmt.Errorf("apt-get fetched no packages: %v", err)
	}
	script := `set -e; root=$1; shift
for deb; do dpkg-deb --fsys-tarfile "$deb" | tar x -C "$root" --keep-directory-symlink --no-same-owner; done
rm -rf "$root"/usr/share "$root"/var "$root"/etc`
	return runFor(unpackTimeout, "/bin/bash", append([]string{"-o", "pipefail", "-c", script, "unpack", root}, debs...)...)
}

func runFor(bound time.Duration, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args[max(0, len(args)-5):], " "), err, out)
	}
	return nil
}
