package mon

import (
	"errors"
	"testing"

	"github.com/spirula/spirula/rados/wire"
)

func TestParseSetting(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"osd_max_backfills", "2", "2"}, {"osd_max_backfills", "4K", "4000"}, {"osd_memory_target", "4K", "4096"}, {"osd_pool_default_crush_rule", "-1", "-1"},
		{"mon_allow_pool_delete", "0", "false"}, {"mon_allow_pool_delete", "true", "true"}, {"mon_osd_min_in_ratio", "0.25", "0.250000"},
		{"rados_osd_op_timeout", "30", "30"}, {"rados_osd_op_timeout", "30s", "30s"}, {"log_file", "any thing", "any thing"},
		{"debug_osd", "20", "20"}, {"debug_any", "1/5", "1/5"}, {"mgr/balancer/active", "x", "x"},
	} {
		if got, err := parseSetting(c.name, c.value, false); err != nil || got != c.want {
			t.Errorf("%s = %s: %q, %v, want %q", c.name, c.value, got, err, c.want)
		}
	}
	for _, c := range []struct{ name, value string }{
		{"osd_max_backfills", "many"}, {"osd_max_backfills", "1.5"}, {"osd_max_backfills", "-1"}, {"osd_max_backfills", ""}, {"osd_pool_default_crush_rule", "--1"},
		{"mon_allow_pool_delete", "maybe"}, {"mon_osd_min_in_ratio", "nan"}, {"rados_osd_op_timeout", "s"}, {"debug_osd", "high"}, {"debug_osd", "1/5/7"}, {"no_such_option", "2"},
	} {
		if got, err := parseSetting(c.name, c.value, false); !errors.Is(err, wire.EINVAL) {
			t.Errorf("%s = %s: %q, %v, want EINVAL", c.name, c.value, got, err)
		}
	}
	if got, err := parseSetting("no_such_option", "2", true); err != nil || got != "2" {
		t.Errorf("with force: %q, %v", got, err)
	}
}

func TestDefaultsAreOfTheirKind(t *testing.T) {
	for _, table := range []map[string]option{ownOptions, knownOptions} {
		for name, o := range table {
			if v, err := o.parse(o.value); err != nil {
				t.Errorf("%s = %q: %v", name, o.value, err)
			} else if got, ok := defaultOf(name); !ok || got != v {
				t.Errorf("default of %s: %q, %v, want %q", name, got, ok, v)
			}
		}
	}
	for name := range ownOptions {
		if _, twice := knownOptions[name]; twice {
			t.Errorf("%s is listed twice", name)
		}
	}
}

func TestConfigTargets(t *testing.T) {
	for who, want := range map[string]bool{"global": true, "osd": true, "osd.3": true, "client.a.b": true, "osd/class:ssd": true, "mon.a/host:h": true,
		"": false, "nonsense": false, "nonsense.section.x": false, "global.a": false, "osd.": false, "osd/rack:r": false, "osd/host:a/b": false} {
		if got := validWho(who); got != want {
			t.Errorf("validWho(%q) = %v", who, got)
		}
	}
}
