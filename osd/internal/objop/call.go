package objop

import (
	"crypto/sha256"
	"fmt"

	"github.com/spirula/spirula/osd/internal/cls"
	"github.com/spirula/spirula/rados/wire"
)

// classContext lets a class method work on the object of a vector.
type classContext struct {
	v      *vector
	m      *cls.Method
	abused bool // the method did what it is not declared to do
}

// call runs a class method. Check has refused unknown ones, but for those
// that a method might call.
func (v *vector) call(op *wire.Op, res *wire.OpResult) int32 {
	m := cls.Lookup(op.Name, op.Name2)
	if m == nil {
		return -int32(wire.EOPNOTSUPP)
	}
	c := &classContext{v: v, m: m}
	out, rval := m.Run(c, op.Value)
	if c.abused {
		return -int32(wire.EIO)
	}
	res.Value = out
	return rval
}

// Do implements cls.Context.
func (c *classContext) Do(op *wire.Op) (wire.OpResult, int32) {
	// Whether an object is there is no secret, so STAT is no read.
	allowed := c.m.Reads || op.Code == wire.OpStat
	if writes(op) {
		allowed = c.m.Writes
	}
	if !allowed {
		c.abused = true
		return wire.OpResult{}, -int32(wire.EIO)
	}
	var res wire.OpResult
	rval := c.v.run(op, &res)
	return res, rval
}

// Asker implements cls.Context.
func (c *classContext) Asker() (wire.EntityName, wire.Addr) {
	return c.v.req.Asker.Client, c.v.req.Asker.Addr
}

// Now implements cls.Context.
func (c *classContext) Now() wire.Time {
	if c.v.req.Now != 0 {
		return c.v.req.Now
	}
	return c.v.req.MTime
}

// Serial implements cls.Context. Every change of the object moves its
// version on, and every operation of a vector its count.
func (c *classContext) Serial() string {
	return fmt.Sprintf("%d.%d", c.v.was.Info.Version.Version, c.v.steps)
}

// Unique implements cls.Context: the request is known by its id.
func (c *classContext) Unique() [32]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%v %d %v %d %d", c.v.req.ReqID, c.v.req.MTime, c.v.was.Head, c.Now(), c.v.steps))
}

// Call is a method of a class that a vector calls.
type Call struct {
	Class, Method string
	Reads, Writes bool // as the method is declared
}

// Demand is what a vector wants to do, for capabilities to allow.
type Demand struct {
	Read, Write bool   // by operations other than calls
	Calls       []Call // each needs x, and its class's r and w
}

// DemandOf finds what a vector wants to do. Unknown methods, which Check
// refuses, don't count.
func DemandOf(ops []wire.Op) Demand {
	var d Demand
	for i := range ops {
		op := &ops[i]
		if op.Code == wire.OpCall {
			if m := cls.Lookup(op.Name, op.Name2); m != nil {
				d.Calls = append(d.Calls, Call{op.Name, op.Name2, m.Reads, m.Writes})
			}
			continue
		}
		code := op.Code
		if code == wire.OpInvalid {
			code = wire.OpCode(op.Num)
		}
		d.Write = d.Write || writes(op)
		// A watch tells what earlier ones left.
		d.Read = d.Read || code.Reads() || code == wire.OpWatch
	}
	return d
}
