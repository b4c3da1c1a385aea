package main

import (
	"slices"
	"syscall"

	"github.com/spirula/spirula/crush"
)

// crushEdits are the changes a command line of crushtool asks for.
type crushEdits struct {
	addID               int // -1: none
	addWeight           uint32
	addName             string
	add, update         bool
	loc                 []crush.Location
	remove              string
	reweightName        string
	reweightTo          uint32
	reweightText        string
	bucket, bucketType  string
	move                string
	reweight, rebuild   bool
	ruleName            string
	createRule, delRule bool
	simpleRule          bool
	root, kind, mode    string
	class               string
}

func (e *crushEdits) any() bool {
	return e.add || e.remove != "" || e.reweightName != "" || e.bucket != "" || e.move != "" || e.reweight ||
		e.rebuild || e.createRule || e.delRule
}

func (t *tool) editOption(e *crushEdits) bool {
	for _, name := range [...]string{"--add-item", "--update-item"} {
		if t.number(&e.addID, name) {
			e.addWeight, e.addName = t.weight(t.more(name)), t.more(name)
			e.add, e.update = e.addID >= 0, name == "--update-item"
			return true
		}
	}
	var typ string
	switch {
	case t.text(&typ, "--loc"):
		e.setLocation(crush.Location{Type: typ, Name: t.more("--loc")})
	case t.text(&e.remove, "--remove-item"), t.text(&e.move, "--move"), t.text(&e.class, "--device-class"):
	case t.text(&e.reweightName, "--reweight-item"):
		e.reweightText = t.more("--reweight-item")
		e.reweightTo = t.weight(e.reweightText)
	case t.text(&e.bucket, "--add-bucket"):
		e.bucketType = t.more("--add-bucket")
	case t.flag("--reweight"):
		e.reweight = true
	case t.flag("--rebuild-class-roots"):
		e.rebuild = true
	case t.text(&e.ruleName, "--create-simple-rule"):
		e.root, e.kind = t.more("--create-simple-rule"), t.more("--create-simple-rule")
		e.mode = t.more("--create-simple-rule")
		e.createRule, e.simpleRule = true, true
		t.printf("--create-simple-rule: name=%s root=%s type=%s mode=%s\n", e.ruleName, e.root, e.kind, e.mode)
	case t.text(&e.ruleName, "--create-replicated-rule"):
		e.root, e.kind = t.more("--create-replicated-rule"), t.more("--create-replicated-rule")
		e.mode = "firstn"
		e.createRule, e.simpleRule = true, false
		t.printf("--create-replicated-rule: name=%s root=%s type=%s\n", e.ruleName, e.root, e.kind)
	case t.text(&e.ruleName, "--remove-rule"):
		e.delRule = true
	default:
		return false
	}
	return true
}

// setLocation notes one place; the last of a type counts.
func (e *crushEdits) setLocation(l crush.Location) {
	i := slices.IndexFunc(e.loc, func(o crush.Location) bool { return o.Type == l.Type })
	if i < 0 {
		e.loc = append(e.loc, l)
	} else {
		e.loc[i] = l
	}
}

// known are the places of types that the map has; others are not looked at.
func (e *crushEdits) known(m *crush.Map) []crush.Location {
	return slices.DeleteFunc(slices.Clone(e.loc), func(l crush.Location) bool {
		n, ok := m.TypeByName(l.Type)
		return !ok || n == 0
	})
}

// crushEdits changes the map, in the original's order.
func (t *tool) crushEdits(m *crush.Map, e *crushEdits) (modified bool) {
	if e.reweightName != "" {
		t.printf("%s reweighting item %s to %s\n", t.name, e.reweightName, shortNumber(e.reweightText))
		t.try(m.Reweight(t.item(m, e.reweightName), e.reweightTo), syscall.EINVAL)
		modified = true
	}
	if e.remove != "" {
		t.printf("%s removing item %s\n", t.name, e.remove)
		id := t.item(m, e.remove)
		if b := m.Bucket(id); b != nil && len(b.Items) > 0 {
			t.failErrno(syscall.ENOTEMPTY)
		}
		t.try(m.Remove(id), syscall.EBUSY)
		modified = true
	}
	if e.add {
		t.addItem(m, e)
		modified = true
	}
	if e.bucket != "" {
		t.addBucket(m, e)
		modified = true
	}
	if e.move != "" {
		t.moveItem(m, e)
		modified = true
	}
	if e.createRule {
		t.createRule(m, e)
		modified = true
	}
	if e.delRule {
		n, ok := m.RuleByName(e.ruleName)
		if !ok {
			t.warnf("rule %s does not exist\n", e.ruleName)
			t.exit(0)
		}
		t.try(m.RemoveRule(int(n)), syscall.EINVAL)
		modified = true
	}
	if e.reweight {
		t.try(m.ReweightAll(), syscall.EINVAL)
		modified = true
	}
	if e.rebuild {
		t.try(m.BuildShadows(), syscall.EINVAL)
		modified = true
	}
	return modified
}

// try ends the run, with what is wrong and the original's status, if err is
// one.
func (t *tool) try(err error, e syscall.Errno) {
	if err != nil {
		t.warnf("%s: %v\n", t.name, err)
		t.failErrno(e)
	}
}

func (t *tool) item(m *crush.Map, name string) int32 {
	id, ok := m.ItemByName(name)
	if !ok {
		t.warnf(" name %s dne\n", name)
		t.failErrno(syscall.ENOENT)
	}
	return id
}

func (t *tool) addItem(m *crush.Map, e *crushEdits) {
	id := int32(e.addID)
	if other, ok := m.ItemByName(e.addName); ok && other != id {
		t.failErrno(syscall.EEXIST)
	}
	at := e.known(m)
	if len(at) == 0 {
		t.failErrno(syscall.EINVAL)
	}
	if e.update {
		t.try(m.Place(id, e.addName, e.addWeight, at), syscall.EINVAL)
		return
	}
	t.try(m.AddDevice(id, e.addName, e.addWeight, at), syscall.EINVAL)
}

func (t *tool) addBucket(m *crush.Map, e *crushEdits) {
	if _, ok := m.ItemByName(e.bucket); ok {
		t.fail("%s bucket '%s' already exists", t.name, e.bucket)
	}
	if _, ok := m.TypeByName(e.bucketType); !ok {
		t.fail("%s bad type: %s", t.name, e.bucketType)
	}
	id, err := m.AddBucket(e.bucket, e.bucketType)
	t.try(err, syscall.EINVAL)
	if at := e.known(m); len(at) > 0 {
		t.try(m.Move(id, at), syscall.EINVAL)
	}
}

func (t *tool) moveItem(m *crush.Map, e *crushEdits) {
	id, ok := m.ItemByName(e.move)
	if !ok {
		t.warnf("%s item '%s' does not exist\n", t.name, e.move)
		t.exit(256 - int(syscall.ENOENT))
	}
	if len(e.loc) == 0 {
		t.warnf("%s expecting additional --loc argument to --move\n", t.name)
		t.exit(256 - int(syscall.EINVAL))
	}
	t.try(m.Move(id, e.known(m)), syscall.EINVAL)
}

func (t *tool) createRule(m *crush.Map, e *crushEdits) {
	if _, ok := m.RuleByName(e.ruleName); ok {
		t.fail("rule %s already exists", e.ruleName)
	}
	root, ok := m.ItemByName(e.root)
	if !ok {
		t.fail("root item %s does not exist", e.root)
	}
	kind := int32(0)
	if e.kind != "" {
		if kind, ok = m.TypeByName(e.kind); !ok {
			t.fail("unknown type %s", e.kind)
		}
	}
	if e.class != "" && !m.HasClass(e.class) {
		t.fail("device class %s does not exist", e.class)
	}
	if e.mode != "firstn" && e.mode != "indep" {
		t.fail("unknown mode %s", e.mode)
	}
	if e.class == "" {
		m.AddSimpleRule(e.ruleName, root, kind, crush.RuleReplicated, e.mode == "firstn")
		return
	}
	if _, err := m.AddClassRule(e.ruleName, root, kind, e.class, crush.RuleReplicated, e.mode == "firstn"); err != nil {
		t.fail("root %s has no devices with class %s", e.root, e.class)
	}
}
