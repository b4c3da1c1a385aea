package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/spirula/spirula/gateway/user"
	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/rados/wire"
)

// dirFormat is the version of the data directory that this program writes,
// and the newest it reads.
const dirFormat = 1

// What lies in a data directory.
const (
	formatFile = "spirula.json" // dirFile
	lockFile   = "lock"         // held while a process uses the directory
	keysFile   = "keys.json"    // the first user's keys; readable by the owner only
	adminFile  = "admin.sock"   // the running process's door for `spirula user` and `status`
	confFile   = "ceph.conf"    // what outside clients need to know, written at each start
	adminKeys  = "ceph.client.admin.keyring"
	ownKeys    = "keyring" // of the OSD whose directory it is
	monDir     = "mon"
	osdDir     = "osd.0" // the store in a directory of `spirula up`
	storeDir   = "store" // the store in a directory of `spirula osd`
)

// role says which command a data directory belongs to.
type role string

// The roles.
const (
	roleAll role = "" // spirula up
	roleMon role = "mon"
	roleOSD role = "osd"
)

// command is what makes and runs a directory of the role.
func (r role) command() string {
	if r == roleAll {
		return "spirula up"
	}
	return "spirula " + string(r)
}

// dirFile is the content of spirula.json: what never changes.
type dirFile struct {
	Format int    `json:"format"` // of this directory
	Reader int    `json:"reader"` // the oldest program format that may read it
	FSID   string `json:"fsid"`
	Role   role   `json:"role,omitempty"`
	OSD    string `json:"osd,omitempty"`    // the store's own uuid; not in a mon's
	ID     int32  `json:"osd_id,omitempty"` // the OSD's number
}

// firstKeys is the content of keys.json.
type firstKeys struct {
	User      string `json:"user"`
	AccessKey string `json:"access_key"`
	SecretKey string `json:"secret_key"`
}

// dataDir is a data directory that this process has locked.
type dataDir struct {
	path string
	disk disk.Disk
	lock io.Closer
	file dirFile
	// fresh: the cluster in it was not finished yet.
	fresh bool
	uid   uint32 // of the directory's owner
	gid   uint32
}

// dirError turns what the system says about a data directory into what the
// person at the keyboard can do about it.
func dirError(path string, err error) error {
	switch {
	case errors.Is(err, wire.EBUSY):
		return fmt.Errorf("%s is in use by another spirula: stop that one, or choose another directory", path)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, wire.EACCES), errors.Is(err, wire.EPERM), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("no permission to use %s: run as its owner, or choose a directory that you may write to", path)
	case errors.Is(err, wire.ENOSPC), errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("the disk under %s is full: free some space on it and start again (%v)", path, err)
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%s is not a directory: choose another name", path)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// openDir locks a data directory for a role. makeDir also makes it.
func openDir(path string, roles ...role) (*dataDir, error) { return lockDir(path, false, roles) }

// makeDir locks a data directory, and makes it if it isn't there.
func makeDir(path string, r role) (*dataDir, error) { return lockDir(path, true, []role{r}) }

func lockDir(path string, create bool, roles []role) (_ *dataDir, err error) {
	if create {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, dirError(path, err)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s does not exist: `%s %s` makes it", path, roles[0].command(), path)
		}
		return nil, dirError(path, err)
	}
	if !info.IsDir() {
		return nil, dirError(path, syscall.ENOTDIR)
	}
	d := &dataDir{path: path}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		d.uid, d.gid = st.Uid, st.Gid
	}
	if err := d.readFormat(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if d.file.Format == 0 && !create {
		return nil, fmt.Errorf("%s is not a data directory of spirula: `%s %s` makes one", path, roles[0].command(), path)
	}
	if d.file.Format != 0 && !slices.Contains(roles, d.file.Role) {
		return nil, fmt.Errorf("%s belongs to `%s`: choose another directory", path, d.file.Role.command())
	}
	if d.file.Format == 0 {
		d.file.Role = roles[0]
		if err := mustBeEmpty(path); err != nil {
			return nil, err
		}
	}
	if d.disk, err = disk.OpenDir(path); err != nil {
		return nil, dirError(path, err)
	}
	if d.lock, err = d.disk.Lock(lockFile); err != nil {
		return nil, dirError(path, err)
	}
	return d, nil
}

// mustBeEmpty refuses to spread a store over somebody's files.
func mustBeEmpty(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return dirError(path, err)
	}
	for _, e := range entries {
		switch e.Name() {
		case lockFile, monDir, osdDir, storeDir, formatFile + ".new", keysFile, ownKeys, ownKeys + ".new", "lost+found":
			// What an interrupted first start, or a new file system, leaves.
		default:
			return fmt.Errorf("%s has other files in it (%s) and is no data directory: choose an empty or a new one", path, e.Name())
		}
	}
	return nil
}

func (d *dataDir) close() {
	d.lock.Close()
}

// storeName is the subdirectory that the object store lies in.
func (d *dataDir) storeName() string {
	if d.file.Role == roleOSD {
		return storeDir
	}
	return osdDir
}

func (d *dataDir) readFormat() error {
	b, err := os.ReadFile(filepath.Join(d.path, formatFile))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			d.fresh = true
			return err
		}
		return dirError(d.path, err)
	}
	if err := json.Unmarshal(b, &d.file); err != nil || d.file.Format == 0 {
		return fmt.Errorf("%s is damaged: restore it from a copy of the directory", filepath.Join(d.path, formatFile))
	}
	if d.file.Reader > dirFormat {
		return fmt.Errorf("%s was written by a newer spirula (format %d, this program knows up to %d): upgrade this program", d.path, d.file.Format, dirFormat)
	}
	return nil
}

// identity gives the cluster's and the store's uuid, new ones on the first
// start.
func (d *dataDir) identity() (fsid, osd wire.FSID, err error) {
	if d.fresh {
		rand.Read(fsid[:])
		rand.Read(osd[:])
		for _, u := range []*wire.FSID{&fsid, &osd} {
			u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80 // RFC 9562: version 4
		}
		d.file = dirFile{Format: dirFormat, Reader: 1, Role: d.file.Role, FSID: fsid.String()}
		if d.file.Role != roleMon {
			d.file.OSD = osd.String()
		}
		return fsid, osd, nil
	}
	if fsid, err = parseUUID(d.file.FSID); err == nil && d.file.Role != roleMon {
		osd, err = parseUUID(d.file.OSD)
	}
	if err != nil {
		return fsid, osd, fmt.Errorf("%s is damaged: restore it from a copy of the directory", filepath.Join(d.path, formatFile))
	}
	return fsid, osd, nil
}

func parseUUID(s string) (u wire.FSID, err error) {
	var a, b, c, d, e []byte
	if _, err = fmt.Sscanf(s, "%8x-%4x-%4x-%4x-%12x", &a, &b, &c, &d, &e); err != nil {
		return u, err
	}
	all := append(append(append(append(a, b...), c...), d...), e...)
	if len(all) != len(u) {
		return u, errors.New("not a UUID")
	}
	copy(u[:], all)
	return u, nil
}

// finish marks the directory as complete, once everything in it was made.
func (d *dataDir) finish() error {
	if !d.fresh {
		return nil
	}
	b, err := json.MarshalIndent(d.file, "", "  ")
	if err == nil {
		err = d.replace(formatFile, append(b, '\n'), 0o644)
	}
	if err != nil {
		return dirError(d.path, err)
	}
	d.fresh = false
	return nil
}

// replace writes a small file so that after a crash either the old content or
// the new one is there.
func (d *dataDir) replace(name string, b []byte, mode os.FileMode) error {
	tmp := filepath.Join(d.path, name+".new")
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if e := f.Sync(); err == nil {
		err = e
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp, filepath.Join(d.path, name))
	}
	if err == nil {
		err = d.disk.SyncDir(".")
	}
	return err
}

// keys gives the first user's keys: those asked for, else those of keys.json,
// else new ones. They are kept in keys.json.
func (d *dataDir) keys(access, secret string) (firstKeys, error) {
	k := firstKeys{User: "admin"}
	name := filepath.Join(d.path, keysFile)
	b, err := os.ReadFile(name)
	switch {
	case err == nil:
		if err := json.Unmarshal(b, &k); err != nil {
			return k, fmt.Errorf("%s is damaged: remove it, and new keys are made", name)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return k, dirError(d.path, err)
	}
	old := k
	if access != "" {
		k.AccessKey, k.SecretKey = access, secret
	}
	if k.AccessKey == "" {
		g := user.GenerateKey(0)
		k.AccessKey, k.SecretKey = g.Access, g.Secret.Reveal()
	}
	if !user.ValidAccess(k.AccessKey) {
		return k, usageError{errors.New("the access key must be 3 to 128 letters, digits, _ or -")}
	}
	if !user.ValidSecret(user.Secret(k.SecretKey)) {
		return k, usageError{errors.New("the secret key must be 8 to 128 visible characters")}
	}
	if k == old {
		return k, nil
	}
	b, err = json.MarshalIndent(k, "", "  ")
	if err == nil {
		err = d.replace(keysFile, append(b, '\n'), 0o600)
	}
	if err != nil {
		return k, dirError(d.path, err)
	}
	return k, nil
}
