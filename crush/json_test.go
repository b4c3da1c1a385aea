package crush

import (
	"bytes"
	"testing"
)

// TestJSON compares with what crushtool --dump printed.
func TestJSON(t *testing.T) {
	for _, name := range []string{"classes", "choose-args-ids", "mixed"} {
		want := bytes.TrimSpace(textFile(t, name+".json"))
		if got := loadMap(t, name).JSON(); !bytes.Equal(got, want) {
			g, w := firstDifference(got, want)
			t.Errorf("%s: got %q, want %q", name, g, w)
		}
	}
}

func TestProfile(t *testing.T) {
	for name, tun := range map[string]Tunables{"argonaut": TunablesLegacy(), "jewel": TunablesJewel(), "unknown": {}} {
		if got := tun.Profile(); got != name {
			t.Errorf("%s: %s", name, got)
		}
	}
}
