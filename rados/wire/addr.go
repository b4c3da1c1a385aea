package wire

import (
	"fmt"
	"net/netip"
)

// AddrType says which messenger answers at an address (Ceph's values).
type AddrType uint32

// The address types.
const (
	AddrNone   AddrType = 0
	AddrLegacy AddrType = 1 // the old messenger; seen in Ceph's maps, never dialled
	AddrMsgr2  AddrType = 2
	AddrAny    AddrType = 3
)

// Addr is where an entity listens: type, nonce, IP and port. All four count
// in comparisons; the nonce tells one start of a daemon from the next.
type Addr struct {
	Type  AddrType
	Nonce uint32
	IP    netip.AddrPort
}

// String prints the address as Ceph's tools do.
func (a Addr) String() string {
	if a.Type == AddrNone {
		return "-"
	}
	proto := "any"
	switch a.Type {
	case AddrLegacy:
		proto = "v1"
	case AddrMsgr2:
		proto = "v2"
	}
	return fmt.Sprintf("%s:%s/%d", proto, a.IP, a.Nonce)
}
