package rados

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spirula/spirula/rados/cephx"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// Limits of a configuration file.
const (
	maxConfig    = 4 << 20 // bytes
	maxExpansion = 1000    // variables expanded in one setting, those within others included
)

// The ways of proving who one is, as Config.Auth has them.
const (
	AuthCephx = "cephx"
	AuthNone  = "none"
)

// Config is what a client needs to know of a cluster, as Ceph's configuration
// file has it. ReadConfig makes one; it may be changed, or made by hand.
type Config struct {
	Path     string        // of the file
	FSID     wire.FSID     // zero: not said
	MonAddrs []wire.Addr   // where mons speak messenger 2; see mon_host
	Name     wire.AuthName // who the client is
	Auth     string        // AuthCephx or AuthNone
	// Key is the client's key if the file itself has it; otherwise it is in
	// the first file of Keyrings that exists.
	Key      cephx.CryptoKey
	Keyrings []string
	// MonModes and OSDModes are the allowed protections of connections,
	// preferred first; nil: as cephx.ClientOptions.
	MonModes, OSDModes []msgr.Mode
	// MaxOps and MaxBytes are as in Options; 0 is its default.
	MaxOps, MaxBytes int
	// Values are the settings that apply to the client, by name, words joined
	// by underscores, variables expanded.
	Values map[string]string
}

// ReadConfig reads a configuration file for client.admin. An empty path stands
// for that in CEPH_CONF, or else /etc/ceph/ceph.conf. ENOENT: there is none;
// EINVAL: a line that makes no sense.
func ReadConfig(path string) (*Config, error) {
	return ReadConfigAs(path, wire.AuthName{Type: wire.EntityClient, ID: "admin"})
}

// ReadConfigAs reads a configuration file for another entity, whose own section
// counts before that of its type, and this before [global].
func ReadConfigAs(path string, name wire.AuthName) (*Config, error) {
	if path == "" {
		path = os.Getenv("CEPH_CONF")
	}
	if path == "" {
		path = "/etc/ceph/ceph.conf"
	}
	st, err := os.Stat(path)
	if err == nil && st.Size() > maxConfig {
		return nil, wire.Errorf("rados.readconfig: too long", path, wire.EINVAL)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		kind := wire.EIO
		switch {
		case os.IsNotExist(err):
			kind = wire.ENOENT
		case os.IsPermission(err):
			kind = wire.EACCES
		}
		return nil, &wire.Error{Op: "rados.readconfig", Subject: path, Kind: kind, Cause: err}
	}
	c, err := ParseConfig(text, path, name)
	if err != nil {
		return nil, wire.Wrap("rados.readconfig", path, err)
	}
	return c, nil
}

// ParseConfig reads the text of a configuration file; path serves only to name
// the cluster and goes into the result. Host names in mon_host are looked up.
func ParseConfig(text []byte, path string, name wire.AuthName) (*Config, error) {
	sections, err := parseSections(text)
	if err != nil {
		return nil, err
	}
	v := make(map[string]string)
	for _, s := range []string{"global", (wire.EntityName{Type: name.Type}).Kind(), name.String()} {
		for k, val := range sections[s] {
			v[k] = val
		}
	}
	c := &Config{Path: path, Name: name, Auth: AuthCephx, Values: expandAll(v, path, name)}
	return c, c.interpret()
}

// parseSections reads settings by section.
func parseSections(text []byte) (map[string]map[string]string, error) {
	sections := make(map[string]map[string]string)
	section := "global"
	for n, rest := 1, text; len(rest) > 0; n++ {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte{'\n'})
		for bytes.HasSuffix(line, []byte{'\\'}) && len(rest) > 0 {
			var more []byte
			more, rest, _ = bytes.Cut(rest, []byte{'\n'})
			line = append(slices.Clone(line[:len(line)-1]), more...)
			n++
		}
		s := uncomment(string(line))
		switch {
		case s == "":
			continue
		case s[0] == '[':
			name, after, ok := strings.Cut(s[1:], "]")
			if !ok || strings.TrimSpace(after) != "" {
				return nil, wire.Errorf("section", fmt.Sprintf("line %d", n), wire.EINVAL)
			}
			section = strings.TrimSpace(name)
			continue
		}
		key, val, ok := strings.Cut(s, "=")
		if !ok {
			return nil, wire.Errorf("neither section nor setting", fmt.Sprintf("line %d", n), wire.EINVAL)
		}
		if sections[section] == nil {
			sections[section] = make(map[string]string)
		}
		sections[section][settingName(key)] = unquote(strings.TrimSpace(val))
	}
	return sections, nil
}

// settingName joins the words of a setting's name by underscores.
func settingName(s string) string {
	words := strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return r == ' ' || r == '\t' || r == '_' || r == '-' })
	return strings.Join(words, "_")
}

// uncomment takes a comment, from # or ; outside quotes on, and space off.
func uncomment(s string) string {
	var quote byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"':
			quote = c
		case c == '#' || c == ';':
			return strings.TrimSpace(s[:i])
		}
	}
	return strings.TrimSpace(s)
}

// unquote takes quotes and the backslashes before comment signs off.
func unquote(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		s = s[1 : len(s)-1]
	}
	return strings.NewReplacer(`\#`, `#`, `\;`, `;`, `\"`, `"`, `\\`, `\`).Replace(s)
}

// expandAll puts values for the variables in settings: $cluster, $type, $id,
// $name, $host, $pid, and other settings.
func expandAll(v map[string]string, path string, name wire.AuthName) map[string]string {
	host, _ := os.Hostname()
	cluster := strings.TrimSuffix(filepath.Base(path), ".conf")
	if cluster == "" || cluster == "." {
		cluster = "ceph"
	}
	vars := map[string]string{"cluster": cluster, "type": (wire.EntityName{Type: name.Type}).Kind(), "id": name.ID,
		"name": name.String(), "host": host, "pid": strconv.Itoa(os.Getpid()), "cctid": "0", "home": os.Getenv("HOME")}
	if _, ok := v["keyring"]; !ok {
		v["keyring"] = "/etc/ceph/$cluster.$name.keyring,/etc/ceph/$cluster.keyring,/etc/ceph/keyring,/etc/ceph/keyring.bin"
	}
	left := 0
	var expand func(s string) string
	expand = func(s string) string {
		return os.Expand(s, func(k string) string {
			if val, ok := vars[k]; ok {
				return val
			}
			if val, ok := v[settingName(k)]; ok && left > 0 && len(val) <= maxExpansion {
				left--
				return expand(val)
			}
			return "$" + k
		})
	}
	out := make(map[string]string, len(v))
	for k, val := range v {
		left = maxExpansion
		out[k] = expand(val)
	}
	return out
}

// interpret fills the fields from the settings.
func (c *Config) interpret() error {
	v := c.Values
	bad := func(key string, cause error) error {
		return &wire.Error{Op: "setting " + key, Subject: v[key], Kind: wire.EINVAL, Cause: cause}
	}
	var err error
	if s := v["fsid"]; s != "" {
		if c.FSID, err = parseFSID(s); err != nil {
			return bad("fsid", err)
		}
	}
	if s := v["mon_host"]; s != "" {
		if c.MonAddrs, err = resolveMons(s); err != nil {
			return bad("mon_host", err)
		}
	}
	for _, key := range []string{"auth_supported", "auth_client_required"} {
		if s := v[key]; s != "" {
			methods := listOf(s)
			switch {
			case slices.Contains(methods, AuthCephx):
				c.Auth = AuthCephx
			case slices.Contains(methods, AuthNone):
				c.Auth = AuthNone
			default:
				return bad(key, nil)
			}
		}
	}
	if s := v["key"]; s != "" {
		if c.Key, err = cephx.ParseKey(s); err != nil {
			return bad("key", err)
		}
	}
	if s := os.Getenv("CEPH_KEYRING"); s != "" {
		c.Keyrings = append(c.Keyrings, s)
	}
	c.Keyrings = append(c.Keyrings, listOf(v["keyring"])...)
	for key, modes := range map[string]*[]msgr.Mode{"ms_client_mode": &c.OSDModes, "ms_mon_client_mode": &c.MonModes} {
		if s := v[key]; s != "" {
			if *modes, err = parseModes(s); err != nil {
				return bad(key, err)
			}
		}
	}
	for key, n := range map[string]*int{"objecter_inflight_ops": &c.MaxOps, "objecter_inflight_op_bytes": &c.MaxBytes} {
		if s := v[key]; s != "" {
			if *n, err = strconv.Atoi(s); err != nil || *n < 0 {
				return bad(key, err)
			}
		}
	}
	return nil
}

// listOf splits a list at commas, semicolons and space.
func listOf(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(",; \t", r) })
}

func parseModes(s string) (modes []msgr.Mode, err error) {
	for _, m := range listOf(s) {
		switch m {
		case "crc":
			modes = append(modes, msgr.ModeCRC)
		case "secure":
			modes = append(modes, msgr.ModeSecure)
		default:
			return nil, wire.Errorf("connection mode", m, wire.EINVAL)
		}
	}
	return modes, nil
}

// parseFSID reads a UUID.
func parseFSID(s string) (f wire.FSID, err error) {
	digits := strings.ReplaceAll(strings.ToLower(s), "-", "")
	if len(digits) != 32 {
		return f, wire.Errorf("uuid", s, wire.EINVAL)
	}
	for i := range f {
		b, err := strconv.ParseUint(digits[2*i:2*i+2], 16, 8)
		if err != nil {
			return f, wire.Errorf("uuid", s, wire.EINVAL)
		}
		f[i] = byte(b)
	}
	return f, nil
}

// readKey finds the client's key.
func (c *Config) readKey() (cephx.CryptoKey, error) {
	if !c.Key.IsZero() {
		return c.Key, nil
	}
	for _, path := range c.Keyrings {
		text, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return cephx.CryptoKey{}, &wire.Error{Op: "rados.keyring", Subject: path, Kind: wire.EACCES, Cause: err}
		}
		k, err := cephx.ParseKeyring(text)
		if err != nil {
			return cephx.CryptoKey{}, wire.Wrap("rados.keyring", path, err)
		}
		if e, ok := k[c.Name]; ok && !e.Key.IsZero() {
			return e.Key, nil
		}
	}
	return cephx.CryptoKey{}, wire.Errorf("rados.keyring: no key for "+c.Name.String()+" in", strings.Join(c.Keyrings, ", "), wire.EACCES)
}
