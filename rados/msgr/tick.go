package msgr

import "time"

// Bounds of the time between two looks at all sessions.
const (
	minTick = 5 * time.Millisecond
	maxTick = 10 * time.Second
)

// keepaliveMisses is how many periods without a sign end a connection.
const keepaliveMisses = 3

// arm has the sessions looked at as long as there are any, under t.mu.
func (t *TCP) arm() {
	if t.ticking {
		return
	}
	t.ticking = true
	every := t.opts.Idle
	if k := t.opts.Keepalive; k > 0 {
		every = min(every, k)
	}
	t.timer = time.AfterFunc(min(max(every/4, minTick), maxTick), t.tick)
}

// tick looks at all sessions.
func (t *TCP) tick() {
	t.mu.Lock()
	t.ticking = false
	var conns []*tcpConn
	for c := range t.dialled {
		conns = append(conns, c)
	}
	for l := range t.listeners {
		l.mu.Lock()
		for c := range l.sessions {
			conns = append(conns, c)
		}
		l.mu.Unlock()
	}
	if len(conns) > 0 || len(t.listeners) > 0 {
		t.arm()
	}
	t.mu.Unlock()
	now := time.Now()
	for _, c := range conns {
		c.tick(now)
	}
}

// tick asks a silent peer for a sign, gives up one that gave none, and closes
// what nobody uses.
func (c *tcpConn) tick(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.closing || !c.stood {
		return
	}
	silence := now.Sub(time.Unix(0, c.lastIn.Load()))
	unused := min(silence, now.Sub(time.Unix(0, c.lastOut.Load())))
	idle := c.net.opts.Idle
	if c.link == nil {
		if c.adopting == nil && len(c.out)+len(c.sent) == 0 && unused > forgetAfter*idle {
			c.fail(errForgotten)
		}
		return
	}
	if every := c.net.opts.Keepalive; every > 0 && (c.dialled || c.lossless) {
		switch {
		case silence > keepaliveMisses*every:
			c.net.Metrics.Silent.Add(1)
			c.breakLink(errSilent)
			return
		case silence > every:
			c.want(wantKeepalive)
		}
	}
	if unused > idle && len(c.out)+len(c.sent) == 0 && (c.lossless || c.listener != nil) {
		c.net.Metrics.IdleCloses.Add(1)
		c.breakLink(errIdle)
	}
}

// breakLink ends a session's connection, and a lossy session with it, under
// c.mu.
func (c *tcpConn) breakLink(err error) {
	if c.lossless {
		c.link.c.Close()
	} else {
		c.fail(err)
	}
}
