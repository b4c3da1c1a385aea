package disk

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// rule is one line of a Faulty's script. Its text:
//
//	CALL [name=GLOB] [n=FROM[-TO]] [every=N] [p=CHANCE] EFFECT
//
// CALL is open, read, write, sync, syncdir, remove, rename, link, mkdir, list,
// grow, truncate, discard, lock or any. GLOB is path.Match's, on the whole
// name. n counts the calls that match CALL and GLOB, from 1; n=3 is the third
// only, n=3- the third and all after. EFFECT is one of
//
//	error[=KIND]  the call fails with EIO, or EACCES, ENOSPC, ... by name
//	lose          sync: fails, and what was unsynced is lost for good
//	flip          read, write: one bit of the data is turned
//	short         write: the first half is written, then EIO
//	misdirect=OFF write: goes to its offset plus OFF, and reports success
//	slow=DURATION the call happens that much later
type rule struct {
	text     string
	call     string
	glob     string
	from, to int64 // 0, 0: any
	every    int64
	chance   float64
	effect   string
	kind     wire.Errno
	shift    int64
	delay    time.Duration
	seen     int64 // calls that matched CALL and GLOB
	done     int64 // calls it had its effect on
}

// calls are the CALLs, and which effects go beside error and slow.
var calls = map[string]string{
	"open": "", "read": "flip", "write": "flip short misdirect", "sync": "lose",
	"syncdir": "", "remove": "", "rename": "", "link": "", "mkdir": "", "list": "",
	"grow": "", "truncate": "", "discard": "", "lock": "", "any": "",
}

// errorKinds are the KINDs of an error effect.
var errorKinds = map[string]wire.Errno{
	"EIO": wire.EIO, "ENOSPC": wire.ENOSPC, "EACCES": wire.EACCES, "ENOENT": wire.ENOENT,
	"EEXIST": wire.EEXIST, "EROFS": wire.EROFS, "EBUSY": wire.EBUSY, "ENOMEM": wire.ENOMEM,
}

// parseRules reads a script: rules separated by newlines or semicolons; what
// follows a # is a comment.
func parseRules(script string) ([]*rule, error) {
	var out []*rule
	for _, line := range strings.FieldsFunc(script, func(r rune) bool { return r == '\n' || r == ';' }) {
		line, _, _ = strings.Cut(line, "#")
		if strings.TrimSpace(line) == "" {
			continue
		}
		r, err := parseRule(line)
		if err != nil {
			return nil, fmt.Errorf("rule %q: %w", strings.TrimSpace(line), err)
		}
		out = append(out, r)
	}
	return out, nil
}

func parseRule(line string) (*rule, error) {
	words := strings.Fields(line)
	r := &rule{text: strings.Join(words, " "), call: words[0], glob: "", chance: 1, every: 1}
	if _, ok := calls[r.call]; !ok {
		return nil, fmt.Errorf("no call %q: %w", r.call, wire.EINVAL)
	}
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		if err := r.set(key, value); err != nil {
			return nil, fmt.Errorf("%s: %w", w, err)
		}
	}
	if r.effect == "" {
		return nil, fmt.Errorf("no effect: %w", wire.EINVAL)
	}
	return r, nil
}

// set takes one word of a rule.
func (r *rule) set(key, value string) (err error) {
	switch key {
	case "name":
		r.glob = value
		_, err = path.Match(value, "")
	case "n":
		from, to, open := strings.Cut(value, "-")
		r.from, err = strconv.ParseInt(from, 10, 64)
		r.to = r.from
		if err == nil && open {
			if r.to = 1<<63 - 1; to != "" {
				r.to, err = strconv.ParseInt(to, 10, 64)
			}
		}
	case "every":
		if r.every, err = strconv.ParseInt(value, 10, 64); err == nil && r.every < 1 {
			err = wire.EINVAL
		}
	case "p":
		r.chance, err = strconv.ParseFloat(value, 64)
	default:
		return r.setEffect(key, value)
	}
	return err
}

func (r *rule) setEffect(key, value string) (err error) {
	if r.effect != "" {
		return fmt.Errorf("second effect: %w", wire.EINVAL)
	}
	r.effect = key
	switch key {
	case "error":
		if r.kind = wire.EIO; value != "" {
			r.kind = errorKinds[value]
		}
		if r.kind == 0 {
			return fmt.Errorf("no such kind: %w", wire.EINVAL)
		}
		return nil
	case "slow":
		r.delay, err = time.ParseDuration(value)
		return err
	case "misdirect":
		if r.shift, err = strconv.ParseInt(value, 10, 64); err != nil {
			return err
		}
	}
	for _, e := range strings.Fields(calls[r.call]) {
		if e == key {
			return nil
		}
	}
	return fmt.Errorf("no such effect on %s: %w", r.call, wire.EINVAL)
}

// matches counts the call and says whether the rule wants it, chance aside.
func (r *rule) matches(call, name string) bool {
	if r.call != "any" && r.call != call {
		return false
	}
	if r.glob != "" {
		if ok, _ := path.Match(r.glob, name); !ok { // the pattern was checked
			return false
		}
	}
	r.seen++
	if r.from > 0 && (r.seen < r.from || r.seen > r.to) {
		return false
	}
	return r.seen%r.every == 0
}
