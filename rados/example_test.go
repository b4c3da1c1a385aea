package rados_test

import (
	"context"
	"fmt"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/radostest"
	"github.com/spirula/spirula/rados/wire"
)

// A vector creates an object with data and an attribute in one step; the next
// one changes it only if the attribute is still what it was. The pool is the
// in-memory twin: an IOCtx takes the same operations.
func ExampleDoer() {
	var pool rados.Doer = radostest.NewPool()
	ctx := context.Background()

	_, err := pool.Do(ctx, &rados.Op{Object: "greeting", Ops: []wire.Op{
		{Code: wire.OpCreate, Flags: wire.OpExcl},
		{Code: wire.OpWriteFull, Data: wire.DataOf([]byte("hello"))},
		{Code: wire.OpSetXattr, Name: "epoch", Value: []byte("7")},
	}})
	fmt.Println("created:", err == nil)

	write := func(epoch uint64, text string) {
		_, err := pool.Do(ctx, &rados.Op{Object: "greeting", Ops: []wire.Op{
			{Code: wire.OpCmpXattr, Name: "epoch", CmpMode: wire.CmpU64, CmpOp: wire.CmpGTE, Num: epoch},
			{Code: wire.OpWriteFull, Data: wire.DataOf([]byte(text))},
		}})
		fmt.Printf("epoch %d: %v\n", epoch, err)
	}
	write(6, "too late")
	write(8, "good evening")

	reply, err := pool.Do(ctx, &rados.Op{Object: "greeting", Ops: []wire.Op{{Code: wire.OpRead}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s\n", reply.Results[0].Data.Bytes())
	reply.Release()
	// Output:
	// created: true
	// epoch 6: rados.do greeting: comparison failed
	// epoch 8: <nil>
	// good evening
}
