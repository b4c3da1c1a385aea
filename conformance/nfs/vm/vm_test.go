package vm

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
)

func TestGuest(t *testing.T) {
	if err := Missing(); err != nil {
		if os.Getenv("SPIRULA_CLIENTS") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	if os.Getenv("SPIRULA_CLIENTS") != "1" {
		t.Skip("SPIRULA_CLIENTS=1 boots a guest (it downloads the kernel)")
	}
	var asked []string
	g := Guest{Dir: t.TempDir(), Script: `uname -s; cat /io/given; host refuse me || echo refused; host "two words" && echo done; exit 7`,
		Host: func(args []string) error {
			asked = append(asked, strings.Join(args, "|"))
			if args[0] == "refuse" {
				return errors.New("no")
			}
			return nil
		}}
	if err := os.WriteFile(g.Dir+"/given", []byte("given\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, status, err := g.Run(context.Background())
	if err != nil || status != 7 {
		t.Fatalf("status %d, %v, output %s", status, err, out)
	}
	if want := "Linux\ngiven\nhost refuse me: no\nrefused\ndone\n"; out != want {
		t.Errorf("output %q, want %q", out, want)
	}
	if got := strings.Join(asked, ","); got != "refuse|me,two words" {
		t.Errorf("the host was asked %q", got)
	}
}
