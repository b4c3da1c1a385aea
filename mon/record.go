package mon

import (
	"encoding/binary"

	"github.com/spirula/spirula/rados/wire"
)

// Keys. r/ is raft's, s/ is what is agreed upon. Numbers in keys are 8 bytes,
// big-endian, so that they sort.
const (
	keyHard    = "r/hard" // raft's HardState
	keyBase    = "r/base" // the entry before the log's first, and the members as of it
	keyEntries = "r/e/"   // + index: a raft entry
	keyApplied = "s/applied"
	keyVersion = "s/v/" // + service: its version
	keyState   = "s/d/" // + service, "/", key: its state
)

const recordVersion = 1

func numKey(prefix string, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(prefix), n)
}

// seal frames a value: version, payload, CRC-32C of both.
func seal(payload []byte) []byte {
	b := make([]byte, 0, len(payload)+5)
	b = append(b, recordVersion)
	b = append(b, payload...)
	return binary.LittleEndian.AppendUint32(b, wire.CRC32C(b))
}

// unseal checks a frame and gives its payload.
func unseal(what string, b []byte) ([]byte, error) {
	if len(b) < 5 || b[0] != recordVersion {
		return nil, wire.Errorf("mon.load: bad version of record", what, wire.EIO)
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if wire.CRC32C(body) != sum {
		return nil, wire.Errorf("mon.load: bad checksum of record", what, wire.EIO)
	}
	return body[1:], nil
}

func sealNum(n uint64) []byte { return seal(binary.LittleEndian.AppendUint64(nil, n)) }

// getNum reads a sealed number, 0 when there is none.
func getNum(kv KV, key string) (uint64, error) {
	b, err := kv.Get([]byte(key))
	if err != nil || b == nil {
		return 0, wire.Wrap("mon.load", key, err)
	}
	p, err := unseal(key, b)
	if err != nil {
		return 0, err
	}
	if len(p) != 8 {
		return 0, wire.Errorf("mon.load: bad length of record", key, wire.EIO)
	}
	return binary.LittleEndian.Uint64(p), nil
}

// proposal is what an entry of the log carries: one service's step from one
// version to the next, as finished changes of its state. It has no effect
// unless the service is at prior when it is applied.
type proposal struct {
	service     string
	prior, next uint64
	changes     []Change // keys without the service's prefix
}

// encode gives the entry's bytes: version, service, prior, next, changes,
// CRC-32C.
func (p *proposal) encode() []byte {
	var e wire.Encoder
	e.Str(p.service)
	e.U64(p.prior)
	e.U64(p.next)
	e.Count(len(p.changes))
	for _, c := range p.changes {
		e.Bool(c.Delete)
		e.Bytes(c.Key)
		e.Bytes(c.Value)
	}
	return seal(e.B)
}

func decodeProposal(b []byte) (*proposal, error) {
	b, err := unseal("log entry", b)
	if err != nil {
		return nil, err
	}
	d := wire.NewDecoder(b)
	p := &proposal{service: d.Str(), prior: d.U64(), next: d.U64()}
	n := d.Count(9)
	for range n {
		c := Change{Delete: d.Bool()}
		c.Key, c.Value = d.Bytes(), d.Bytes()
		p.changes = append(p.changes, c)
	}
	if d.Err() == nil && d.Len() != 0 {
		return nil, wire.Errorf("mon.load: bytes after a proposal", p.service, wire.EIO)
	}
	return p, wire.Wrap("mon.load", "log entry", d.Err())
}

// stateKey is where a service's own key lies in the KV.
func stateKey(service string, key []byte) []byte {
	return append([]byte(keyState+service+"/"), key...)
}

// apply adds the proposal's effects to b.
func (p *proposal) apply(b *Batch) {
	for _, c := range p.changes {
		if c.Delete {
			b.Delete(stateKey(p.service, c.Key))
		} else {
			b.Put(stateKey(p.service, c.Key), c.Value)
		}
	}
	b.Put([]byte(keyVersion+p.service), sealNum(p.next))
}
