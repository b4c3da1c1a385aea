package cephx

import (
	"strings"

	"github.com/spirula/spirula/rados/wire"
)

// maxName bounds the name of an entity, in bytes.
const maxName = 256

// ParseName reads an entity's name as keyrings have it: "client.admin",
// "osd.3", "mon.". What is none, or could not stand in a keyring, is EINVAL.
func ParseName(s string) (wire.AuthName, error) {
	n, err := wire.ParseAuthName(s)
	if err == nil && (len(s) > maxName || strings.ContainsAny(n.ID, "[]\n\r\x00") || strings.TrimSpace(n.ID) != n.ID) {
		err = wire.Errorf("entity name", s, wire.EINVAL)
	}
	return n, err
}

// compareNames orders as Ceph lists entities: by type, then id.
func compareNames(a, b wire.AuthName) int {
	if a.Type != b.Type {
		return int(a.Type) - int(b.Type)
	}
	return strings.Compare(a.ID, b.ID)
}
