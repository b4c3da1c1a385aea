package rados

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// commandRetry is how often a command is tried on an OSD whose session is lost.
const commandRetry = 200 * time.Millisecond

// MonCommand runs a command of the mons: cmd is encoded as JSON and has at
// least a "prefix". It gives the command's output. The error's text has what
// the mon says; EINVAL is also an unknown command.
func (c *Client) MonCommand(ctx context.Context, cmd map[string]any, input []byte) ([]byte, error) {
	return c.mon.Command(ctx, cmd, input)
}

// OSDCommand runs a command on an OSD ("ceph tell osd.N"); see MonCommand.
// ENODEV: the OSD is not up. It is sent again when the session is lost, so it
// may be done twice.
func (c *Client) OSDCommand(ctx context.Context, osd int32, cmd map[string]any, input []byte) ([]byte, error) {
	return c.command(ctx, &linger{pool: -1, osd: osd}, cmd, input)
}

// PGCommand runs a command on the OSD that leads a placement group; ENODEV:
// there is none. See OSDCommand.
func (c *Client) PGCommand(ctx context.Context, pg wire.PGID, cmd map[string]any, input []byte) ([]byte, error) {
	if _, ok := cmd["pgid"]; !ok {
		full := map[string]any{"pgid": pg.String()}
		for k, v := range cmd {
			full[k] = v
		}
		cmd = full
	}
	return c.command(ctx, &linger{pool: pg.Pool, hash: pg.Seed}, cmd, input)
}

func (c *Client) command(ctx context.Context, place *linger, cmd map[string]any, input []byte) ([]byte, error) {
	text, err := json.Marshal(cmd)
	if err != nil {
		return nil, wire.Wrap("rados.command", "", wire.EINVAL)
	}
	ctx, cancel := c.clientContext(ctx)
	defer cancel()
	defer c.follow(place)()
	tid := c.tid.Add(1)
	answer := make(chan *wire.MCommandReply, 1)
	c.lingerMu.Lock()
	c.commands[tid] = answer
	c.lingerMu.Unlock()
	defer func() {
		c.lingerMu.Lock()
		defer c.lingerMu.Unlock()
		delete(c.commands, tid)
	}()
	for {
		m := c.osdmap.Load()
		osd := place.target(m)
		if osd < 0 || !m.IsUp(osd) {
			return nil, wire.Errorf("rados.command: the osd is not up", fmt.Sprint("osd.", osd), wire.ENODEV)
		}
		var again <-chan time.Time
		conn := c.connOf(osd, m.Addr(osd))
		if conn == nil || conn.Send(&wire.MCommand{TID: tid, FSID: c.FSID(), Cmd: []string{string(text)}, Input: input}) != nil {
			again = time.After(commandRetry)
		}
		select {
		case r := <-answer:
			if r.Result < 0 {
				return r.Output, wire.Errorf(fmt.Sprintf("osd.%d: %s", osd, r.Status), string(text), wire.Errno(-r.Result))
			}
			return r.Output, nil
		case <-place.lost:
		case <-again:
		case <-ctx.Done():
			return nil, ContextError("rados.command", string(text), ctx.Err())
		}
	}
}

// connOf gives the session with an OSD for what has no order.
func (c *Client) connOf(osd int32, addr wire.Addr) msgr.Conn {
	c.mu.RLock() // Close takes it before it ends the sessions
	defer c.mu.RUnlock()
	c.osdsMu.Lock()
	defer c.osdsMu.Unlock()
	return c.open(osd, addr, false).conn
}

// commandReply takes the answer to an OSDCommand or a PGCommand.
func (c *Client) commandReply(m *wire.MCommandReply) {
	c.lingerMu.Lock()
	answer := c.commands[m.TID]
	delete(c.commands, m.TID)
	c.lingerMu.Unlock()
	if answer != nil {
		answer <- m
	}
}
