package mds

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/mds/internal/tree"
)

// sampleEvent has an item of each kind.
func sampleEvent() []byte {
	at := place{0x12, "name"}
	d := &inode.Dentry{Seq: 3, Ino: 0x30, Type: inode.Reg, Inode: &inode.Inode{
		Ino: 0x30, Gen: 1, Type: inode.Reg, Mode: 0o644, Nlink: 1, Size: 3, Mtime: 5, Change: 1, Data: 1,
		Content: inode.Content{Kind: inode.Inline, Inline: []byte("abc")},
	}}
	b := []byte{eventVersion}
	b = appendIno(b, itemBorn, 0x12)
	b = appendPut(b, at, d)
	b = appendDelete(b, place{0x12, "gone/"})
	b = appendRow(b, 0x31, &inode.TableRow{Kind: inode.RowAt, Parent: 0x12, Token: "other"})
	b = appendRow(b, 0x32, nil)
	b = appendIno(b, itemForgotten, 0x13)
	b = appendUnconfirmed(b, 0x40, at, d)
	b = appendUnconfirmed(b, 0x41, at, nil)
	b = appendConfirmed(b, 0x40, true)
	b = appendConfirmed(b, 0x41, false)
	b = appendSplit(b, true, tree.Split{Dir: 0x12, From: 0, To: 1, At: "m", InTable: true, Table: []inode.Frag{{Num: 0}, {Num: 1, First: "m"}}})
	return appendNumbers(b, 0x50, 0x150, []uint64{0x41, 0x42})
}

// The bytes of events in journals that exist must stay readable.
func TestEventGolden(t *testing.T) {
	file := filepath.Join("testdata", "event.hex")
	got := hex.EncodeToString(sampleEvent())
	if os.Getenv("SPIRULA_GOLDEN") != "" {
		if err := os.WriteFile(file, []byte(got+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != strings.TrimSpace(string(want)) {
		t.Errorf("an event has become\n%s\nwas\n%s", got, want)
	}
	var out bytes.Buffer
	if err := dumpEvent(&out, sampleEvent()); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"born 12", `put 12 "name" seq 3`, `delete 12 "gone/"`, "row 31 kind 1", "row 32 gone", "forgotten 13",
		"unconfirmed 40", "confirmed 40", "undone 41", "split of 12", "numbers next 50 limit 150 in flight [41 42]"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("the dump lacks %q:\n%s", line, &out)
		}
	}
}

func TestEventCutShort(t *testing.T) {
	whole := sampleEvent()
	items := 0
	if err := decodeEvent(whole, func(*eventItem) error { items++; return nil }); err != nil || items != 12 {
		t.Fatalf("%d items, %v", items, err)
	}
	for n := range whole {
		got := 0
		err := decodeEvent(whole[:n], func(*eventItem) error { got++; return nil })
		if err == nil && n > 0 && got >= items {
			t.Errorf("the first %d of %d bytes decode as a whole event", n, len(whole))
		}
	}
}

func FuzzDecodeEvent(f *testing.F) {
	whole := sampleEvent()
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte{})
	f.Add([]byte{eventVersion, itemSplit, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{eventVersion, itemNumbers, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		decodeEvent(b, func(it *eventItem) error {
			if it.kind == itemPut && it.dentry == nil {
				t.Fatal("a put without its dentry")
			}
			return nil
		})
		dumpEvent(io.Discard, b)
	})
}

func TestDumps(t *testing.T) {
	f := newFS(t)
	b := f.bucket("bucket")
	f.put(b.Ino, "dir/key", []byte("abc"))
	var out bytes.Buffer
	if err := Dump(context.Background(), f.meta, 0, &out); err != nil || !strings.Contains(out.String(), `"key"`) {
		t.Errorf("dump: %v\n%s", err, &out)
	}
	f.reopen()
	out.Reset()
	if err := DumpTree(context.Background(), f.meta, &out); err != nil || !strings.Contains(out.String(), "key") {
		t.Errorf("dump of the tree: %v\n%s", err, &out)
	}
}
