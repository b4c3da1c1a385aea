// Package vm runs shell scripts on a Linux kernel of their own, User Mode
// Linux, so that a test can use the kernel's NFS client without touching the
// mounts, routes and modules of the machine it runs on.
//
// The guest sees the host's root directory under an overlay in memory: every
// program is there, and nothing it writes stays. One folder, /io in the guest
// and Guest.Dir on the host, is shared. The guest's 127.0.0.1 is the host's,
// so a server on loopback is in reach.
//
// It takes root and Debian's packages nfs-common, kmod and iproute2; the kernel
// (package user-mode-linux) is downloaded with apt-get once, unpacked to the
// user's cache directory and never installed.
package vm

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"text/template"
	"time"
)

// maxGuests is how many guests run at a time on one machine; each has a
// network of its own, 10.78.N.0/24.
const maxGuests = 8

// tools are the programs that a guest needs of the host.
var tools = map[string]string{
	"mount.nfs": "nfs-common", "depmod": "kmod", "modprobe": "kmod", "ip": "iproute2",
	"apt-get": "apt", "dpkg": "dpkg", "bash": "bash",
}

// Missing says why no guest can run on this machine; nil if one can.
func Missing() error {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return errors.New("no guest: User Mode Linux needs linux/amd64")
	}
	if os.Geteuid() != 0 {
		return errors.New("no guest: its network needs root")
	}
	for tool, deb := range tools {
		if _, err := lookTool(tool); err != nil {
			return fmt.Errorf("%s is missing: apt-get install %s", tool, deb)
		}
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return fmt.Errorf("no tap devices: %w", err)
	}
	return nil
}

// lookTool finds a program also where only root's PATH has it.
func lookTool(name string) (string, error) {
	p, err := exec.LookPath(name)
	if err == nil {
		return p, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if _, e := os.Stat(filepath.Join(dir, name)); e == nil {
			return filepath.Join(dir, name), nil
		}
	}
	return "", err
}

// tool runs a program of the host.
func tool(name string, args ...string) ([]byte, error) {
	p, err := lookTool(name)
	if err != nil {
		return nil, err
	}
	out, err := exec.Command(p, args...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return out, nil
}

// kernel is an unpacked User Mode Linux.
type kernel struct {
	binary  string
	modules []string // files, in the order to load them
}

// unpacked finds the kernel in the cache, or downloads it.
func unpacked() (k kernel, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "spirula-uml")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return k, err
	}
	unlock, err := lock(filepath.Join(dir, "lock"), true)
	if err != nil {
		return k, err
	}
	defer unlock()
	root := filepath.Join(dir, "root")
	k.binary = filepath.Join(root, "usr/bin/linux.uml")
	if _, err := os.Stat(filepath.Join(root, "complete")); err != nil {
		if err := download(dir, root); err != nil {
			return k, err
		}
	}
	versions, err := filepath.Glob(filepath.Join(root, "lib/modules/*"))
	if err != nil || len(versions) != 1 {
		return k, fmt.Errorf("%s/lib/modules holds %d kernels, want one", root, len(versions))
	}
	seen := map[string]bool{}
	for _, m := range []string{"overlay", "nfs", "nfsv3"} {
		out, err := tool("modprobe", "-d", root, "-S", filepath.Base(versions[0]), "--show-depends", m)
		if err != nil {
			return k, err
		}
		for line := range strings.Lines(string(out)) {
			if f := strings.Fields(line); len(f) >= 2 && f[0] == "insmod" && !seen[f[1]] {
				seen[f[1]] = true
				k.modules = append(k.modules, f[1])
			}
		}
	}
	return k, nil
}

// download fetches and unpacks the package. What is half done is done again.
func download(dir, root string) error {
	os.RemoveAll(root)
	get := exec.Command("apt-get", "download", "user-mode-linux")
	get.Dir = dir
	if out, err := get.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get download user-mode-linux: %w\n%s", err, out)
	}
	debs, err := filepath.Glob(filepath.Join(dir, "user-mode-linux_*.deb"))
	if err != nil || len(debs) == 0 {
		return errors.New("apt-get download user-mode-linux brought no package")
	}
	if _, err := tool("dpkg", "-x", debs[len(debs)-1], root); err != nil {
		return err
	}
	// Debian keeps the modules where modprobe does not look.
	if err := os.MkdirAll(filepath.Join(root, "lib"), 0o755); err != nil {
		return err
	}
	if err := os.Symlink("../usr/lib/uml/modules", filepath.Join(root, "lib/modules")); err != nil {
		return err
	}
	versions, err := os.ReadDir(filepath.Join(root, "usr/lib/uml/modules"))
	if err != nil || len(versions) != 1 {
		return fmt.Errorf("user-mode-linux: %d directories of modules, want one (%v)", len(versions), err)
	}
	if _, err := tool("depmod", "-b", root, versions[0].Name()); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, "complete"), nil, 0o644)
}

// lock takes a lock on a file; without wait, it fails when somebody has it.
func lock(name string, wait bool) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	how := syscall.LOCK_EX
	if !wait {
		how |= syscall.LOCK_NB
	}
	if err := syscall.Flock(int(f.Fd()), how); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// Guest is one run of a virtual machine.
type Guest struct {
	// Dir is the folder that the guest has as /io. The script is there; the
	// caller may add files, before and while the guest runs.
	Dir string
	// Script is run by bash, as root, in /.
	Script string
	// Memory of the guest, in MiB; 0: 1024.
	Memory int
	// Timeout ends the guest; 0: 10 minutes.
	Timeout time.Duration
	// Host answers what the script asks with the shell function
	// `host WORD...`, on a goroutine of Run. An error is printed in the guest
	// and makes the function fail.
	Host func(args []string) error
}

//go:embed init.sh.tmpl
var initText string

var initTemplate = template.Must(template.New("init").Parse(initText))

// Run boots the guest, runs its script, and gives what it printed and its
// exit status. An error means that there is no status: the guest did not
// boot, or did not come to its end.
func (g *Guest) Run(ctx context.Context) (output string, status int, err error) {
	if g.Timeout == 0 {
		g.Timeout = 10 * time.Minute
	}
	if g.Memory == 0 {
		g.Memory = 1024
	}
	k, err := unpacked()
	if err != nil {
		return "", 0, err
	}
	n, release, err := network()
	if err != nil {
		return "", 0, err
	}
	defer release()
	var init bytes.Buffer
	if err := initTemplate.Execute(&init, map[string]any{"Modules": k.modules, "Dir": g.Dir, "Net": n}); err != nil {
		return "", 0, err
	}
	name := filepath.Join(g.Dir, "init.sh")
	if err := os.WriteFile(name, init.Bytes(), 0o755); err != nil {
		return "", 0, err
	}
	if err := os.WriteFile(filepath.Join(g.Dir, "script.sh"), []byte(g.Script), 0o755); err != nil {
		return "", 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, g.Timeout)
	defer cancel()
	return g.boot(ctx, k, n, name)
}

func (g *Guest) boot(ctx context.Context, k kernel, n int, init string) (output string, status int, err error) {
	cmd := exec.CommandContext(ctx, k.binary, fmt.Sprintf("mem=%dM", g.Memory), "rootfstype=hostfs", "rootflags=/", "ro",
		"init="+init, "con=null", "con0=null,fd:1", "con1=null,fd:3", "ssl=null", "loglevel=4",
		fmt.Sprintf("vec0:transport=tap,ifname=%s,depth=128,gro=1", tapName(n)))
	// The guest's memory is a file there, and must be executable.
	cmd.Env = append(os.Environ(), "TMPDIR=/dev/shm")
	// It forks; all of it must go when the time is over.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	console, err := os.Create(filepath.Join(g.Dir, "console.log"))
	if err != nil {
		return "", 0, err
	}
	defer console.Close()
	printed, err := os.Create(filepath.Join(g.Dir, "output.log"))
	if err != nil {
		return "", 0, err
	}
	defer printed.Close()
	cmd.Stdout, cmd.Stderr = console, console
	cmd.ExtraFiles = []*os.File{printed} // fd 3
	if err := cmd.Start(); err != nil {
		return "", 0, err
	}
	ended := make(chan struct{})
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		g.serve(ended)
	}()
	werr := cmd.Wait()
	close(ended)
	<-answered
	b, _ := os.ReadFile(printed.Name())
	output = strings.ReplaceAll(string(b), "\r\n", "\n")
	rc, err := os.ReadFile(filepath.Join(g.Dir, "status"))
	if err != nil {
		log, _ := os.ReadFile(console.Name())
		return output, 0, fmt.Errorf("the guest gave no status (%v, %v); its console:\n%s", werr, ctx.Err(), log[max(0, len(log)-3000):])
	}
	if _, err := fmt.Sscan(string(rc), &status); err != nil {
		return output, 0, fmt.Errorf("status %q: %w", rc, err)
	}
	return output, status, nil
}

// serve answers the guest's `host` function: a request is a file of lines,
// and so is its answer.
func (g *Guest) serve(ended <-chan struct{}) {
	request := filepath.Join(g.Dir, "host.request")
	for {
		select {
		case <-ended:
			return
		case <-time.After(20 * time.Millisecond):
		}
		b, err := os.ReadFile(request)
		if err != nil {
			continue
		}
		os.Remove(request)
		answer := "ok"
		if g.Host == nil {
			answer = "nobody answers on the host"
		} else if err := g.Host(strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")); err != nil {
			answer = err.Error()
		}
		tmp := filepath.Join(g.Dir, "host.answer.new")
		if os.WriteFile(tmp, []byte(answer+"\n"), 0o644) == nil {
			os.Rename(tmp, filepath.Join(g.Dir, "host.answer"))
		}
	}
}

func tapName(n int) string { return fmt.Sprintf("spirula%d", n) }

// network makes a tap device with a network that no other guest has.
func network() (n int, release func(), err error) {
	var unlock func()
	for n = 0; ; n++ {
		if n == maxGuests {
			return 0, nil, fmt.Errorf("%d guests run already", maxGuests)
		}
		if unlock, err = lock(filepath.Join(os.TempDir(), fmt.Sprintf("spirula-uml-%d.lock", n)), false); err == nil {
			break
		}
	}
	tap := tapName(n)
	tool("ip", "link", "del", tap) // what a killed test has left
	release = func() {
		tool("ip", "link", "del", tap)
		unlock()
	}
	for _, args := range [][]string{
		{"tuntap", "add", "dev", tap, "mode", "tap"},
		{"addr", "add", fmt.Sprintf("10.78.%d.1/24", n), "dev", tap},
		{"link", "set", tap, "up"},
	} {
		if _, err := tool("ip", args...); err != nil {
			release()
			return 0, nil, err
		}
	}
	// Packets to 127.0.0.1 that come from the guest are taken.
	if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+tap+"/route_localnet", []byte("1"), 0o644); err != nil {
		release()
		return 0, nil, err
	}
	return n, release, nil
}
