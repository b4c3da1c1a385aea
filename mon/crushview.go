package mon

import (
	"github.com/spirula/spirula/crush"
)

// className is the device class of an OSD, "" if it has none.
func className(c *crush.Map, id int32) string {
	if n, ok := c.ItemClass[id]; ok {
		return c.ClassNames[n]
	}
	return ""
}

// hostOf is the host that an item lies under, "" if there is none.
func hostOf(c *crush.Map, id int32) string { return placeOf(c, id, "host") }

func placeOf(c *crush.Map, id int32, kind string) string {
	for _, l := range c.LocationOf(id) {
		if l.Type == kind {
			return l.Name
		}
	}
	return ""
}

// crushWeights gives the weights of the devices that lie in the hierarchy.
func crushWeights(c *crush.Map) map[int32]uint32 {
	out := make(map[int32]uint32)
	for i := range c.Tree(false) {
		if i.ID >= 0 {
			out[i.ID] = i.Weight
		}
	}
	return out
}
