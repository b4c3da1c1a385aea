package mon

import (
	"strings"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// defaultLogLast is how many lines "log last" shows.
const defaultLogLast = 20

// addLogCommands adds the commands about the cluster log.
func addLogCommands(t commands) {
	t.add("log last name=num,type=CephInt,range=1,req=false name=level,type=CephChoices,strings=debug|info|sec|warn|error,req=false "+
		"name=channel,type=CephChoices,strings=*|cluster|audit|cephadm,req=false", "show the last lines of the cluster log", "r", cmdLogLast)
	t.add("log name=logtext,type=CephString,n=N", "write a line into the cluster log", "rw", func(c *call) {
		e := wire.LogEntry{Time: wire.TimeOf(c.m.opts.Now()), Level: logInfo, Text: strings.Join(c.args.list("logtext"), " "), Channel: channelMain,
			Name: wire.AuthName{Type: wire.EntityMon, ID: c.m.opts.Name}, Rank: wire.EntityName{Type: wire.EntityClient, Num: -1}}
		if c.sess != nil {
			if n, err := wire.ParseAuthName(c.sess.entity()); err == nil {
				e.Name = n
			}
			e.Addrs = []wire.Addr{c.sess.c.PeerAddr()}
			e.Rank.Type = c.sess.c.Peer().Type
		}
		c.m.clog.add(c.told(""), e)
	})
}

func cmdLogLast(c *call) {
	n, _ := c.args.num("num", defaultLogLast)
	level, channel := uint16(logInfo), c.args.str("channel")
	if s := c.args.str("level"); s != "" {
		var ok bool
		if level, ok = logLevel(s); !ok {
			c.fail(wire.EINVAL, "unrecognized level '%s'", s)
			return
		}
	}
	if channel == "" {
		channel = channelMain
	}
	var found []wire.LogEntry
	for i := len(c.m.clog.lines) - 1; i >= 0 && int64(len(found)) < n; i-- {
		if e := c.m.clog.lines[i]; e.Level >= level && (channel == "*" || e.Channel == channel) {
			found = append(found, e)
		}
	}
	list, text := []any{}, ""
	for i := len(found) - 1; i >= 0; i-- {
		e := found[i]
		list = append(list, obj{{"name", e.Name.String()}, {"rank", rankText(e.Rank)}, {"addrs", obj{{"addrvec", addrVec(e.Addrs...)}}},
			{"stamp", clustermap.Stamp(e.Time)}, {"seq", e.Seq}, {"channel", e.Channel}, {"priority", logTag(e.Level)}, {"message", e.Text}})
		text += lineText(e) + "\n"
	}
	c.output(list, text)
}
