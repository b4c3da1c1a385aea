package mon

import (
	"fmt"
	"strings"
	"time"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// Bounds of the cluster log.
const (
	logLines    = 1000        // kept
	maxLogLine  = 4096        // bytes; what is longer is cut
	maxLogWait  = 4096        // lines not yet agreed on; more are dropped
	maxLogReply = 250         // lines in one message to a subscriber
	logGap      = time.Second // between steps that nobody waits for
	keyLog      = "e/"        // + number: a line
	channelMain = "cluster"
	logDebug    = 0
	logInfo     = 1
	logSecurity = 2
	logWarning  = 3
	logError    = 4
)

var logLevels = []struct {
	names []string
	level uint16
	tag   string
}{{[]string{"debug"}, logDebug, "[DBG]"}, {[]string{"info"}, logInfo, "[INF]"}, {[]string{"sec"}, logSecurity, "[SEC]"},
	{[]string{"warn", "warning"}, logWarning, "[WRN]"}, {[]string{"error", "err"}, logError, "[ERR]"}}

func logLevel(name string) (uint16, bool) {
	for _, l := range logLevels {
		for _, n := range l.names {
			if n == name {
				return l.level, true
			}
		}
	}
	return 0, false
}

func logTag(level uint16) string {
	if int(level) < len(logLevels) {
		return logLevels[level].tag
	}
	return "[???]"
}

// logService keeps the last lines of the cluster log. State: "e/" and the
// line's number, the first being 1.
type logService struct {
	m     *Mon
	ver   uint64
	lines []wire.LogEntry // committed, ascending
	last  uint64          // number of the last of them
	seq   uint64          // of our own lines

	pending  []wire.LogEntry
	answers  []func(wire.Errno)
	flying   []func(wire.Errno)
	inFlight bool
	lastStep time.Time
}

func (l *logService) name() string    { return "log" }
func (l *logService) version() uint64 { return l.ver }

func (l *logService) load(kv KV, version uint64) error {
	l.ver = version
	prefix := stateKey(l.name(), []byte(keyLog))
	return kv.Range(prefix, prefixEnd(prefix), func(k, v []byte) error {
		b, err := unseal("log", v)
		if err != nil {
			return err
		}
		e, err := decodeLogEntry(b)
		l.lines = append(l.lines, e)
		l.last = wire.NewDecoder(reverse(k[len(prefix):])).U64()
		return err
	})
}

func encodeLogEntry(n wire.LogEntry) []byte {
	var e wire.Encoder
	e.U8(uint8(n.Name.Type))
	e.Str(n.Name.ID)
	e.U8(uint8(n.Rank.Type))
	e.I64(n.Rank.Num)
	e.AddrVec(n.Addrs)
	e.Time(n.Time)
	e.U64(n.Seq)
	e.U16(n.Level)
	e.Str(n.Text)
	e.Str(n.Channel)
	return e.B
}

func decodeLogEntry(b []byte) (wire.LogEntry, error) {
	d := wire.NewDecoder(b)
	n := wire.LogEntry{Name: wire.AuthName{Type: wire.EntityType(d.U8()), ID: d.Str()},
		Rank: wire.EntityName{Type: wire.EntityType(d.U8()), Num: d.I64()}, Addrs: d.AddrVec(), Time: d.Time(),
		Seq: d.U64(), Level: d.U16(), Text: d.Str(), Channel: d.Str()}
	return n, wire.Wrap("mon.load", "log line", d.Err())
}

func (l *logService) lead(bool) {
	l.inFlight, l.pending = false, nil
	answers := append(l.flying, l.answers...)
	l.flying, l.answers = nil, nil
	for _, fn := range answers {
		fn(wire.EAGAIN)
	}
}

func (l *logService) propose(now time.Time) *proposal {
	if l.inFlight || len(l.pending) == 0 || len(l.answers) == 0 && now.Sub(l.lastStep) < logGap {
		return nil
	}
	p := &proposal{service: l.name(), prior: l.ver, next: l.ver + 1}
	for i, e := range l.pending {
		p.changes = append(p.changes, Change{Key: numKey(keyLog, l.last+1+uint64(i)), Value: seal(encodeLogEntry(e))})
	}
	l.inFlight, l.pending = true, nil
	l.flying, l.answers = l.answers, nil
	l.lastStep = now
	return p
}

func (l *logService) apply(b *Batch, p *proposal) error {
	for _, ch := range p.changes {
		v, err := unseal("log", ch.Value)
		if err != nil {
			return err
		}
		e, err := decodeLogEntry(v)
		if err != nil {
			return err
		}
		l.lines = append(l.lines, e)
		l.last++
	}
	for len(l.lines) > logLines {
		b.Delete(stateKey(l.name(), numKey(keyLog, l.last+1-uint64(len(l.lines)))))
		l.lines = l.lines[1:]
	}
	l.ver = p.next
	return nil
}

func (l *logService) committed(_ *proposal, mine bool) {
	if mine {
		l.inFlight = false
		answers := l.flying
		l.flying = nil
		for _, fn := range answers {
			fn(0)
		}
	}
	for _, s := range l.m.sessions {
		l.serve(s)
	}
}

func (l *logService) tick(time.Time) {}

// add puts lines into the log. done, which may be nil, is told once they are
// agreed on.
func (l *logService) add(done func(wire.Errno), entries ...wire.LogEntry) {
	if len(l.pending)+len(entries) > maxLogWait {
		if done != nil {
			done(wire.EAGAIN)
		}
		return
	}
	for _, e := range entries {
		e.Text = strings.ToValidUTF8(e.Text[:min(len(e.Text), maxLogLine)], "?")
		e.Channel = e.Channel[:min(len(e.Channel), 64)]
		l.pending = append(l.pending, e)
	}
	if done != nil {
		l.answers = append(l.answers, done)
	}
}

// write adds a line of this mon's own.
func (l *logService) write(level uint16, format string, a ...any) {
	if !l.m.leader {
		return
	}
	l.seq++
	e := wire.LogEntry{Name: wire.AuthName{Type: wire.EntityMon, ID: l.m.opts.Name}, Rank: wire.EntityName{Type: wire.EntityMon, Num: int64(l.m.monmap.rank(l.m.opts.Name)) - 1},
		Time: wire.TimeOf(l.m.opts.Now()), Seq: l.seq, Level: level, Text: fmt.Sprintf(format, a...), Channel: channelMain}
	if self := l.m.monmap.cur.Mon(l.m.opts.Name); self != nil {
		e.Addrs = self.Addrs
	}
	l.add(nil, e)
}

// take handles lines that a daemon or client sends.
func (l *logService) take(s *session, msg *wire.MLog) {
	if len(msg.Entries) == 0 {
		return
	}
	last := msg.Entries[len(msg.Entries)-1]
	l.add(func(e wire.Errno) {
		if e == 0 {
			s.c.Send(&wire.MLogAck{FSID: l.m.fsid, Last: last.Seq, Channel: last.Channel})
		}
	}, msg.Entries...)
}

// serve sends a subscriber the lines it waits for; at first only the last
// one, so that it knows where it is.
func (l *logService) serve(s *session) {
	for what, sub := range s.subs {
		level, ok := logSubscription(what)
		if ok && sub.Start == 0 && l.last == 0 {
			sub.Start = 1
			s.subs[what] = sub
		}
		if !ok || l.last < sub.Start {
			continue
		}
		msg := &wire.MLog{Seen: l.last, FSID: l.m.fsid}
		from := max(sub.Start, l.last+1-uint64(min(len(l.lines), maxLogReply)))
		if sub.Start == 0 {
			from = l.last
		}
		for _, e := range l.lines[len(l.lines)-int(l.last+1-from):] {
			if e.Level >= level {
				msg.Entries = append(msg.Entries, e)
			}
		}
		s.c.Send(msg)
		l.m.delivered(s, what, l.last)
	}
}

// lineText prints a line as "log last" shows it.
func lineText(e wire.LogEntry) string {
	return fmt.Sprintf("%s %s (%s) %d : %s %s %s", clustermap.Stamp(e.Time), e.Name, rankText(e.Rank), e.Seq, e.Channel, logTag(e.Level), e.Text)
}

// rankText prints an entity's name in messages, with ? for a client that has
// no number.
func rankText(n wire.EntityName) string {
	if n.Num < 0 {
		return n.Kind() + ".?"
	}
	return n.String()
}
