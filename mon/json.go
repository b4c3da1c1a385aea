package mon

import (
	"bytes"
	"encoding/json"
)

// member is one key of an obj with its value.
type member struct {
	key   string
	value any
}

// obj is a JSON object whose members keep their order, as Ceph's formatter
// writes them.
type obj []member

// MarshalJSON implements json.Marshaler.
func (o obj) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, m := range o {
		if i > 0 {
			b = append(b, ',')
		}
		for j, v := range [...]any{m.key, m.value} {
			e, err := marshal(v)
			if err != nil {
				return nil, err
			}
			if j > 0 {
				b = append(b, ':')
			}
			b = append(b, e...)
		}
	}
	return append(b, '}'), nil
}

// marshal is json.Marshal that leaves <, > and & as they are.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// encodeJSON gives v on one line, or on many if pretty is set. What the mon
// answers with always has a JSON form.
func encodeJSON(v any, pretty bool) []byte {
	b, err := marshal(v)
	if err != nil {
		panic("mon: encoding of an answer: " + err.Error())
	}
	if pretty {
		var out bytes.Buffer
		if err := json.Indent(&out, b, "", "    "); err != nil {
			panic("mon: encoding of an answer: " + err.Error())
		}
		b = out.Bytes()
	}
	return append(b, '\n')
}

// sortedObj gives a map as an object, its keys ascending.
func sortedObj[V any](m map[string]V) obj {
	o := make(obj, 0, len(m))
	for _, k := range sortedKeys(m) {
		o = append(o, member{k, m[k]})
	}
	return o
}
