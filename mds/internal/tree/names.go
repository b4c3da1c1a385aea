package tree

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados/wire"
)

// A token is a piece of an S3 key: a directory's ends in '/', a file's
// doesn't, and may be empty. NFS shows a token's name without the slash, bare
// where that is possible, else escaped:
//
//	.%f=NAME  .%d=NAME    a file's, a directory's; in NAME % is %25 and 00 is %00
//	.%F=START~SUM  .%D=…  over 255 bytes: the first bytes of NAME, at most 180, and
//	                      26 base32 digits of the SHA-256 of the bare name

const (
	maxName    = 255 // bytes of a name over NFS
	longStart  = 180
	longDigits = 26
)

var nameDigits = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// SplitToken takes the first token off an S3 key: "a/b/c" gives "a/" and
// "b/c"; "c" gives "c" and "", with last true: a file token, which is empty
// when the key ended in a slash.
func SplitToken(key string) (token, rest string, last bool) {
	if i := strings.IndexByte(key, '/'); i >= 0 {
		return key[:i+1], key[i+1:], false
	}
	return key, "", true
}

// Tokens splits an S3 key: directory tokens and one file token. Joined they
// are the key again.
func Tokens(key string) []string {
	out := make([]string, 0, strings.Count(key, "/")+1)
	for {
		token, rest, last := SplitToken(key)
		out = append(out, token)
		if last {
			return out
		}
		key = rest
	}
}

// IsDirToken reports whether token is a directory's.
func IsDirToken(token string) bool { return strings.HasSuffix(token, "/") }

// NameOf gives the name under which NFS shows token; twin tells that token is
// a file's and its directory has a subdirectory of the same name.
func NameOf(token string, twin bool) string {
	c, isDir := strings.CutSuffix(token, "/")
	if !twin && plain(c) {
		return c
	}
	letter := byte('f')
	if isDir {
		letter = 'd'
	}
	esc := escape(c)
	if len(esc)+4 <= maxName {
		return ".%" + string(letter) + "=" + esc
	}
	sum := sha256.Sum256([]byte(c))
	return ".%" + string(letter-'a'+'A') + "=" + cutEscaped(esc) + "~" + nameDigits.EncodeToString(sum[:])[:longDigits]
}

// plain reports whether c can be shown as it is.
func plain(c string) bool {
	switch c {
	case "", ".", "..", ".snap":
		return false
	}
	return len(c) <= maxName && !strings.HasPrefix(c, ".%") && strings.IndexByte(c, 0) < 0
}

func escape(c string) string {
	if strings.IndexByte(c, '%') < 0 && strings.IndexByte(c, 0) < 0 {
		return c
	}
	return strings.NewReplacer("%", "%25", "\x00", "%00").Replace(c)
}

// unescape is the inverse of escape; ok is false for anything escape doesn't
// make.
func unescape(s string) (c string, ok bool) {
	c = strings.NewReplacer("%25", "%", "%00", "\x00").Replace(s)
	return c, escape(c) == s && strings.IndexByte(s, '/') < 0
}

// cutEscaped gives the first longStart bytes of an escaped name, or one or
// two less so as not to cut an escape.
func cutEscaped(esc string) string {
	cut := esc[:longStart]
	if i := strings.LastIndexByte(cut, '%'); i > longStart-3 {
		cut = cut[:i]
	}
	return cut
}

// escaped is a parsed escaped name.
type escaped struct {
	dir  bool
	long bool
	name string // bare; of a long one only its start
}

// parseEscaped takes a name starting with ".%" apart; false if it isn't one
// that NameOf makes.
func parseEscaped(name string) (e escaped, ok bool) {
	if len(name) < 4 || name[3] != '=' {
		return e, false
	}
	rest := name[4:]
	switch name[2] {
	case 'd', 'f':
		e.dir = name[2] == 'd'
	case 'D', 'F':
		e.dir, e.long = name[2] == 'D', true
		at := len(rest) - longDigits - 1
		if at < longStart-2 || at > longStart || rest[at] != '~' {
			return e, false
		}
		rest = rest[:at]
	default:
		return e, false
	}
	e.name, ok = unescape(rest)
	return e, ok
}

func (e *escaped) token() string {
	if e.dir {
		return e.name + "/"
	}
	return e.name
}

// TokenFor gives the token for a new entry that NFS calls name. EINVAL: no
// entry can have that name; ENAMETOOLONG: over 255 bytes, or a long escaped
// name, which doesn't say what it stands for.
func TokenFor(name string, isDir bool) (string, error) {
	switch {
	case len(name) > maxName:
		return "", wire.Errorf("name", "over 255 bytes", wire.ENAMETOOLONG)
	case strings.HasPrefix(name, ".%"):
		e, ok := parseEscaped(name)
		switch {
		case !ok || e.dir != isDir:
			return "", wire.Errorf("name", name, wire.EINVAL)
		case e.long:
			return "", wire.Errorf("name", name, wire.ENAMETOOLONG)
		}
		return e.token(), nil
	case !plain(name) || strings.IndexByte(name, '/') >= 0:
		return "", wire.Errorf("name", name, wire.EINVAL)
	}
	return (&escaped{dir: isDir, name: name}).token(), nil
}

// ShownName gives the name under which NFS shows token in dir. The error may
// be a *Miss.
func (t *Tree) ShownName(dir *inode.Inode, token string) (string, error) {
	twin := false
	if !IsDirToken(token) && dir.Dir.Subdirs > 0 {
		d, _, err := t.Get(dir, token+"/")
		if err != nil {
			return "", err
		}
		twin = d != nil
	}
	return NameOf(token, twin), nil
}

// Lookup finds an entry by the name NFS shows: its token and dentry. An
// escaped name finds its entry where a bare one would do, too. ENOENT; EINVAL
// for a name that no entry can have. The error may be a *Miss.
func (t *Tree) Lookup(dir *inode.Inode, name string) (token string, d *inode.Dentry, err error) {
	tokens := [2]string{name + "/", name}
	try := tokens[:]
	if strings.HasPrefix(name, ".%") {
		e, ok := parseEscaped(name)
		if !ok {
			return "", nil, wire.Errorf("lookup", name, wire.EINVAL)
		}
		if e.long {
			return t.lookupLong(dir, name, e)
		}
		try = []string{e.token()}
	} else if strings.IndexByte(name, '/') >= 0 {
		return "", nil, wire.Errorf("lookup", name, wire.EINVAL)
	} else if !plain(name) {
		return "", nil, wire.Errorf("lookup", name, wire.ENOENT)
	}
	for _, token := range try {
		d, _, err := t.Get(dir, token)
		if m, ok := AsMiss(err); ok && len(try) == 2 {
			m.Add(t.alsoMissing(dir, try[1]))
		}
		if err != nil || d != nil {
			return token, d, err
		}
	}
	return "", nil, wire.Errorf("lookup", name, wire.ENOENT)
}

// alsoMissing gives what has to be loaded to know token; nothing if it is
// known.
func (t *Tree) alsoMissing(dir *inode.Inode, token string) *Miss {
	if m, ok := AsMiss(t.Want(dir, []string{token})); ok {
		return m
	}
	return &Miss{}
}

// lookupLong finds a name of the long form among the tokens that start as it
// does.
func (t *Tree) lookupLong(dir *inode.Inode, name string, e escaped) (token string, d *inode.Dentry, err error) {
	err = t.Scan(dir, e.name, true, func(k string, x *inode.Dentry) bool {
		if !strings.HasPrefix(k, e.name) {
			return false
		}
		if IsDirToken(k) == e.dir && NameOf(k, true) == name {
			token, d = k, x
			return false
		}
		return true
	})
	if err == nil && d == nil {
		err = wire.Errorf("lookup", name, wire.ENOENT)
	}
	return token, d, err
}
