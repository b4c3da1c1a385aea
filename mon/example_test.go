package mon_test

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/spirula/spirula/mon"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// A cluster of one mon within a process: made, started, asked.
func Example() {
	kv := mon.NewMemKV()
	at := wire.Addr{IP: netip.MustParseAddrPort("127.0.0.1:3300")}
	_, err := mon.Mkfs(kv, mon.MkfsOptions{Name: "a", Addr: at,
		OSDs: []mon.MkfsOSD{{Host: "here"}}, Pools: []mon.PoolSpec{{Name: "data", PGNum: 8}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	m, err := mon.New(mon.Options{Name: "a", Addr: at, Net: msgr.NewLocal(), KV: kv})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := m.Start(); err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	answer, err := m.Command(context.Background(), `{"prefix": "osd lspools"}`, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(string(answer.Output))
	// Output: 1 data
}
