package cephx

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spirula/spirula/rados/wire"
)

// maxKeyring bounds the text of a keyring, in bytes.
const maxKeyring = 4 << 20

// Entity is what is known of one: its key, and what it may do on each kind of
// daemon ("mon", "osd", "mgr", "mds").
type Entity struct {
	Key  CryptoKey
	Caps map[string]string
}

// Equal compares keys and caps.
func (e Entity) Equal(o Entity) bool { return e.Key.Equal(o.Key) && maps.Equal(e.Caps, o.Caps) }

// Keyring is the content of a keyring file.
type Keyring map[wire.AuthName]Entity

// Names gives the entities in the order in which Ceph lists them.
func (k Keyring) Names() []wire.AuthName {
	return slices.SortedFunc(maps.Keys(k), compareNames)
}

// Format gives the text of a keyring file.
func (k Keyring) Format() []byte {
	var b bytes.Buffer
	for _, n := range k.Names() {
		FormatEntity(&b, n, k[n])
	}
	return b.Bytes()
}

// FormatEntity appends one entity's section of a keyring file.
func FormatEntity(b *bytes.Buffer, name wire.AuthName, e Entity) {
	fmt.Fprintf(b, "[%s]\n", name)
	if !e.Key.IsZero() {
		fmt.Fprintf(b, "\tkey = %s\n", e.Key.Text())
	}
	for _, service := range slices.Sorted(maps.Keys(e.Caps)) {
		fmt.Fprintf(b, "\tcaps %s = \"%s\"\n", service, strings.ReplaceAll(e.Caps[service], `"`, `\"`))
	}
}

// ParseKeyring reads a keyring file as Ceph does: sections, "key =" and
// "caps WHAT =" in any order, comments from # or ; on, lines that go on after
// a backslash; settings it does not know are skipped. Errors are EINVAL and
// name the line.
func ParseKeyring(text []byte) (Keyring, error) {
	if len(text) > maxKeyring {
		return nil, wire.Errorf("cephx.parse keyring: too long", "", wire.EINVAL)
	}
	out := make(Keyring)
	var name wire.AuthName
	inSection := false
	for n, rest := 0, text; len(rest) > 0; {
		var line string
		var lines int
		line, rest, lines = nextLine(rest)
		n += lines
		bad := func(what string, cause error) error {
			return &wire.Error{Op: "cephx.parse keyring: " + what, Subject: fmt.Sprintf("line %d", n), Kind: wire.EINVAL, Cause: cause}
		}
		line, err := stripComment(line)
		if err != nil {
			return nil, bad("quotes", err)
		}
		if line == "" {
			continue
		}
		if line[0] == '[' {
			end := strings.IndexByte(line, ']')
			if end < 0 || strings.TrimSpace(line[end+1:]) != "" {
				return nil, bad("section", nil)
			}
			if name, err = ParseName(strings.TrimSpace(line[1:end])); err != nil {
				return nil, bad("section", err)
			}
			inSection = true
			if _, ok := out[name]; !ok {
				out[name] = Entity{}
			}
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return nil, bad("neither section nor setting", nil)
		}
		if !inSection {
			return nil, bad("setting before a section", nil)
		}
		if err := out.set(name, key, value); err != nil {
			return nil, bad("setting", err)
		}
	}
	return out, nil
}

// set takes over one setting of an entity.
func (k Keyring) set(name wire.AuthName, key, value string) error {
	key = strings.Join(strings.FieldsFunc(key, func(r rune) bool { return r == ' ' || r == '\t' || r == '_' }), " ")
	value, err := unquote(strings.TrimSpace(value))
	if err != nil {
		return err
	}
	e := k[name]
	switch service, isCaps := strings.CutPrefix(key, "caps "); {
	case key == "key":
		if e.Key, err = ParseKey(value); err != nil {
			return err
		}
	case isCaps:
		if e.Caps == nil {
			e.Caps = make(map[string]string)
		}
		e.Caps[service] = value
	}
	k[name] = e
	return nil
}

// nextLine takes one line off text, joined with those it goes on in, and
// counts them.
func nextLine(text []byte) (line string, rest []byte, lines int) {
	for {
		part, more, found := bytes.Cut(text, []byte{'\n'})
		lines++
		part = bytes.TrimSuffix(part, []byte{'\r'})
		text = more
		if cont, ok := bytes.CutSuffix(part, []byte{'\\'}); ok && found {
			line += string(cont)
			continue
		}
		return line + string(part), text, lines
	}
}

// stripComment removes a comment and the space around what is left. Quoted
// comment signs stay.
func stripComment(s string) (string, error) {
	var quote byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quote != 0:
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '#' || c == ';':
			return strings.TrimSpace(s[:i]), nil
		}
	}
	if quote != 0 {
		return "", wire.Errorf("unfinished quotes", "", wire.EINVAL)
	}
	return strings.TrimSpace(s), nil
}

// unquote takes the quotes off a value, and the backslashes within them.
func unquote(s string) (string, error) {
	if s == "" || s[0] != '"' && s[0] != '\'' {
		return s, nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case s[i] == s[0]:
			if i+1 != len(s) {
				return "", wire.Errorf("text after quotes", "", wire.EINVAL)
			}
			return b.String(), nil
		default:
			b.WriteByte(s[i])
		}
	}
	return "", wire.Errorf("unfinished quotes", "", wire.EINVAL)
}
