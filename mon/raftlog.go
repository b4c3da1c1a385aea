package mon

import (
	"encoding/binary"
	"fmt"
	"log/slog"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/spirula/spirula/rados/wire"
)

// The log is cut to logKeep applied entries whenever it has logMax of them.
const (
	logMax  = 2000
	logKeep = 1000
)

// raftLog is raft's view of the KV: all of the log is in memory, and what
// changes goes into the batch that the node is about to apply.
type raftLog struct {
	*raft.MemoryStorage
	conf *raftpb.ConfState
}

// base is the record below the log's first entry.
func encodeBase(index, term uint64, conf *raftpb.ConfState) []byte {
	s := &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{ConfState: conf, Index: &index, Term: &term}}
	b, err := proto.Marshal(s)
	if err != nil {
		panic("mon: marshal of a raft record: " + err.Error())
	}
	return seal(b)
}

// mkfsLog writes the log of a cluster whose only member is id.
func mkfsLog(b *Batch, id uint64) {
	one, zero := uint64(1), uint64(0)
	conf := &raftpb.ConfState{Voters: []uint64{id}}
	b.Put([]byte(keyBase), encodeBase(1, 1, conf))
	hard, err := proto.Marshal(&raftpb.HardState{Term: &one, Commit: &one, Vote: &zero})
	if err != nil {
		panic("mon: marshal of a raft record: " + err.Error())
	}
	b.Put([]byte(keyHard), seal(hard))
	b.Put([]byte(keyApplied), sealNum(1))
}

// loadProto reads a sealed protobuf record. It reports whether there is one.
func loadProto(kv KV, key string, m proto.Message) (bool, error) {
	b, err := kv.Get([]byte(key))
	if err != nil || b == nil {
		return false, wire.Wrap("mon.load", key, err)
	}
	if b, err = unseal(key, b); err != nil {
		return false, err
	}
	if err := proto.Unmarshal(b, m); err != nil {
		return false, wire.Wrap("mon.load", key, err)
	}
	return true, nil
}

// loadLog reads the log. A KV without one has no mon in it: ENOENT.
func loadLog(kv KV) (*raftLog, error) {
	l := &raftLog{MemoryStorage: raft.NewMemoryStorage()}
	var snap raftpb.Snapshot
	found, err := loadProto(kv, keyBase, &snap)
	if err != nil {
		return nil, err
	}
	if !found || snap.GetMetadata().GetConfState() == nil {
		return nil, wire.Errorf("mon.load: no mon in this store", "", wire.ENOENT)
	}
	l.conf = snap.GetMetadata().GetConfState()
	if err := l.ApplySnapshot(&snap); err != nil {
		return nil, wire.Wrap("mon.load", "log", err)
	}
	var hard raftpb.HardState
	if _, err := loadProto(kv, keyHard, &hard); err != nil {
		return nil, err
	}
	if err := l.SetHardState(&hard); err != nil {
		return nil, wire.Wrap("mon.load", "log", err)
	}
	var entries []*raftpb.Entry
	next := snap.GetMetadata().GetIndex() + 1
	err = kv.Range([]byte(keyEntries), prefixEnd([]byte(keyEntries)), func(key, value []byte) error {
		if len(key) != len(keyEntries)+8 || binary.BigEndian.Uint64(key[len(keyEntries):]) != next {
			return wire.Errorf("mon.load: hole in the log", string(key), wire.EIO)
		}
		b, err := unseal("log entry", value)
		if err != nil {
			return err
		}
		e := &raftpb.Entry{}
		if err := proto.Unmarshal(b, e); err != nil {
			return wire.Wrap("mon.load", "log entry", err)
		}
		if e.GetIndex() != next {
			return wire.Errorf("mon.load: log entry in a wrong place", "", wire.EIO)
		}
		entries = append(entries, e)
		next++
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := l.Append(entries); err != nil {
		return nil, wire.Wrap("mon.load", "log", err)
	}
	return l, nil
}

// persist adds what raft wants stored to b and takes it over in memory; raft
// is told (Advance) only after b was applied.
func (l *raftLog) persist(b *Batch, rd *raft.Ready) error {
	if !raft.IsEmptyHardState(rd.HardState) {
		p, err := proto.Marshal(rd.HardState)
		if err != nil {
			return err
		}
		b.Put([]byte(keyHard), seal(p))
		if err := l.SetHardState(rd.HardState); err != nil {
			return err
		}
	}
	if len(rd.Entries) == 0 {
		return nil
	}
	last, err := l.LastIndex()
	if err != nil {
		return err
	}
	for _, e := range rd.Entries {
		p, err := proto.Marshal(e)
		if err != nil {
			return err
		}
		b.Put(numKey(keyEntries, e.GetIndex()), seal(p))
	}
	for i := rd.Entries[len(rd.Entries)-1].GetIndex() + 1; i <= last; i++ {
		b.Delete(numKey(keyEntries, i))
	}
	return l.Append(rd.Entries)
}

// trim cuts the log when it is long.
func (l *raftLog) trim(b *Batch, applied uint64) error {
	first, err := l.FirstIndex()
	if err != nil || applied < first+logMax {
		return err
	}
	cut := applied - logKeep
	term, err := l.Term(cut)
	if err != nil {
		return err
	}
	if _, err := l.CreateSnapshot(cut, l.conf, nil); err != nil {
		return err
	}
	if err := l.Compact(cut); err != nil {
		return err
	}
	b.Put([]byte(keyBase), encodeBase(cut, term, l.conf))
	for i := first; i <= cut; i++ {
		b.Delete(numKey(keyEntries, i))
	}
	return nil
}

// raftLogger gives raft's messages to slog, its chatter as debug.
type raftLogger struct{ log *slog.Logger }

func (l raftLogger) Debug(v ...any)                   { l.log.Debug(fmt.Sprint(v...)) }
func (l raftLogger) Debugf(format string, v ...any)   { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l raftLogger) Info(v ...any)                    { l.log.Debug(fmt.Sprint(v...)) }
func (l raftLogger) Infof(format string, v ...any)    { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l raftLogger) Warning(v ...any)                 { l.log.Warn(fmt.Sprint(v...)) }
func (l raftLogger) Warningf(format string, v ...any) { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l raftLogger) Error(v ...any)                   { l.log.Error(fmt.Sprint(v...)) }
func (l raftLogger) Errorf(format string, v ...any)   { l.log.Error(fmt.Sprintf(format, v...)) }
func (l raftLogger) Fatal(v ...any)                   { l.Panic(v...) }
func (l raftLogger) Fatalf(format string, v ...any)   { l.Panicf(format, v...) }

// Panic is raft's way to say that an invariant is broken.
func (l raftLogger) Panic(v ...any) {
	l.log.Error(fmt.Sprint(v...))
	panic("mon: raft: " + fmt.Sprint(v...))
}

// Panicf is Panic with a format.
func (l raftLogger) Panicf(format string, v ...any) { l.Panic(fmt.Sprintf(format, v...)) }
