package mon

import (
	"fmt"

	"github.com/spirula/spirula/crush"
	"github.com/spirula/spirula/rados/wire"
)

// hostType is the CRUSH level of hosts in a bootstrap map.
const hostType = 1

// addDevice gives a copy of c in which OSD id lies under host, which is made
// below the root "default" if it isn't there.
func addDevice(c *crush.Map, id int32, host string, weight uint32) (*crush.Map, error) {
	c = c.Clone()
	rootID, ok := c.ItemByName("default")
	root := c.Bucket(rootID)
	if !ok || root == nil {
		return nil, wire.Errorf("crush: no root named default", host, wire.ENOENT)
	}
	hostID, ok := c.ItemByName(host)
	if !ok {
		hostID = int32(-1 - len(c.Buckets))
		c.Buckets = append(c.Buckets, &crush.Bucket{ID: hostID, Type: hostType, Alg: crush.Straw2})
		c.Names[hostID] = host
		root.Items = append(root.Items, hostID)
		root.Weights = append(root.Weights, 0)
	}
	b := c.Bucket(hostID)
	if b == nil || b.Type != hostType || b.Alg != crush.Straw2 || root.Alg != crush.Straw2 {
		return nil, wire.Errorf("crush: not a straw2 host", host, wire.EINVAL)
	}
	c.Names[id] = fmt.Sprintf("osd.%d", id)
	c.MaxDevices = max(c.MaxDevices, id+1)
	b.Items = append(b.Items, id)
	b.Weights = append(b.Weights, weight)
	b.Weight += weight
	for i, item := range root.Items {
		if item == hostID {
			root.Weights[i] += weight
			root.Weight += weight
		}
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return c, nil
}
