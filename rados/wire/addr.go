package wire

import (
	"fmt"
	"net/netip"
)

// AddrType says which messenger answers at an address (Ceph's values).
type AddrType uint32

// The address types.
const (
	AddrNone  AddrType = 0
	AddrMsgr2 AddrType = 2
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
	return fmt.Sprintf("v2:%s/%d", a.IP, a.Nonce)
}
