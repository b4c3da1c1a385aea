package rados_test

import (
	"context"
	"fmt"
	"log"
	"testing"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

// exampleTB lets an example have the cluster of the tests.
type exampleTB struct {
	testing.TB
	cleanups []func()
}

func (t *exampleTB) Helper()           {}
func (t *exampleTB) Cleanup(fn func()) { t.cleanups = append(t.cleanups, fn) }
func (t *exampleTB) Fatal(args ...any) { log.Panic(args...) }

func (t *exampleTB) close() {
	for i := len(t.cleanups) - 1; i >= 0; i-- {
		t.cleanups[i]()
	}
}

// exampleClient stands for rados.Dial.
func exampleClient() (*rados.Client, func()) {
	tb := &exampleTB{}
	return newWorld(tb, 1, true).client(nil), tb.close
}

// Connect to the cluster that a ceph.conf describes, as client.admin.
func ExampleDial() {
	conf, err := rados.ReadConfig("/etc/ceph/ceph.conf")
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	client, err := rados.Dial(ctx, conf, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	fmt.Println(client.ListPools())
}

// Write an object, read it, and list the pool.
func ExampleIOCtx() {
	client, done := exampleClient()
	defer done()
	ctx := context.Background()
	pool, err := client.IOCtx(ctx, "p")
	if err != nil {
		log.Panic(err)
	}
	if err := pool.WriteFull(ctx, "greeting", []byte("hello")); err != nil {
		log.Panic(err)
	}
	if err := pool.Append(ctx, "greeting", []byte(", world")); err != nil {
		log.Panic(err)
	}
	text, err := pool.ReadAll(ctx, "greeting")
	if err != nil {
		log.Panic(err)
	}
	fmt.Printf("%s\n", text)
	_, err = pool.ReadAll(ctx, "nothing")
	fmt.Println(wire.ErrnoOf(err) == wire.ENOENT)
	pool.ListObjects(ctx, "", func(e wire.ListEntry) error {
		fmt.Println(e.Name)
		return nil
	})
	// Output:
	// hello, world
	// true
	// greeting
}

// An IOCtx with a namespace is another one; the first stays as it is.
func ExampleIOCtx_WithNamespace() {
	client, done := exampleClient()
	defer done()
	ctx := context.Background()
	pool, err := client.IOCtx(ctx, "p")
	if err != nil {
		log.Panic(err)
	}
	mine := pool.WithNamespace("mine")
	if err := mine.SetXattr(ctx, "o", "owner", []byte("me")); err != nil {
		log.Panic(err)
	}
	owner, err := mine.GetXattr(ctx, "o", "owner")
	fmt.Printf("%s %v\n", owner, err)
	_, err = pool.GetXattr(ctx, "o", "owner")
	fmt.Println(wire.ErrnoOf(err) == wire.ENOENT)
	// Output:
	// me <nil>
	// true
}

// Many writes under way at a time: those to one object happen in order.
func ExampleIOCtx_Start() {
	client, done := exampleClient()
	defer done()
	ctx := context.Background()
	pool, err := client.IOCtx(ctx, "p")
	if err != nil {
		log.Panic(err)
	}
	var calls []*rados.Call
	for _, word := range []string{"one ", "two ", "three"} {
		calls = append(calls, pool.Start(ctx, &rados.Op{Object: "o", Ops: []wire.Op{
			{Code: wire.OpAppend, Data: wire.DataOf([]byte(word))}}}))
	}
	for _, c := range calls {
		if _, err := c.Wait(ctx); err != nil {
			log.Panic(err)
		}
	}
	text, err := pool.ReadAll(ctx, "o")
	fmt.Printf("%s %v\n", text, err)
	// Output: one two three <nil>
}

// Watch an object and answer those who notify of it.
func ExampleIOCtx_Watch() {
	ctx := context.Background()
	watch := func(pool *rados.IOCtx) error {
		w, err := pool.Watch(ctx, "header", rados.WatchOptions{
			OnNotify: func(n *rados.Notification) {
				fmt.Printf("client.%d says %s\n", n.Notifier, n.Payload)
				n.Ack(ctx, []byte("heard"))
			},
			OnError: func(err error) { log.Print("watch again: ", err) },
		})
		if err != nil {
			return err
		}
		defer w.Close(ctx)
		answers, err := pool.Notify(ctx, "header", []byte("changed"), 0)
		if err != nil {
			return err
		}
		for _, a := range answers.Replies {
			fmt.Printf("client.%d answers %s\n", a.GlobalID, a.Payload)
		}
		return nil
	}
	_ = watch
}
