package crush

import (
	"math"
	"slices"
	"strconv"
)

// chooseArgs reads one set of replacement weights.
func (c *compiler) chooseArgs() error {
	if err := c.defineBuckets(); err != nil {
		return err
	}
	// Negative keys are written as unsigned numbers: -1 as 2^64-1.
	key, err := strconv.ParseUint(c.word, 10, 64)
	if err != nil {
		return c.expected("a pool id")
	}
	if _, ok := c.m.ChooseArgs[int64(key)]; ok {
		return c.errorf("choose_args %d twice", int64(key))
	}
	c.next()
	if err := c.expect("{"); err != nil {
		return err
	}
	args := make(ChooseArgs, len(c.m.Buckets))
	for !c.accept("}") {
		if err := c.expect("{"); err != nil {
			return err
		}
		if err := c.chooseArg(args); err != nil {
			return err
		}
	}
	c.m.ChooseArgs[int64(key)] = args
	return nil
}

func (c *compiler) chooseArg(args ChooseArgs) error {
	if err := c.expect("bucket_id"); err != nil {
		return err
	}
	id, err := c.number("a bucket id", -maxBuckets, -1)
	if err != nil {
		return err
	}
	b := c.m.Bucket(int32(id))
	if b == nil || b.Alg != Straw2 {
		return c.errorf("%d is no straw2 bucket", id)
	}
	if args[-1-id] != nil {
		return c.errorf("bucket %d twice", id)
	}
	arg := &ChooseArg{}
	for !c.accept("}") {
		switch {
		case c.accept("weight_set"):
			if err := c.weightSets(arg, len(b.Items)); err != nil {
				return err
			}
		case c.accept("ids"):
			ids, err := list(c.lexer, len(b.Items), func() (int32, error) {
				v, err := c.number("an id", math.MinInt32, math.MaxInt32)
				return int32(v), err
			})
			if err != nil {
				return err
			}
			arg.IDs = ids
		default:
			return c.expected("weight_set, ids or }")
		}
	}
	args[-1-id] = arg
	return nil
}

func (c *compiler) weightSets(arg *ChooseArg, size int) error {
	if err := c.expect("["); err != nil {
		return err
	}
	for !c.accept("]") {
		set, err := list(c.lexer, size, func() (uint32, error) { return c.weight(math.MaxInt32) })
		if err != nil {
			return err
		}
		arg.WeightSet = append(arg.WeightSet, set)
	}
	return nil
}

// list reads [ ... ] of exactly size elements.
func list[T any](l *lexer, size int, element func() (T, error)) ([]T, error) {
	if err := l.expect("["); err != nil {
		return nil, err
	}
	var v []T
	for l.word != "]" {
		x, err := element()
		if err != nil {
			return nil, err
		}
		v = append(v, x)
	}
	if len(v) != size {
		return nil, l.errorf("%d entries for %d items", len(v), size)
	}
	l.next()
	return slices.Clip(v), nil
}
