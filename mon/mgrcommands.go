package mon

import "github.com/spirula/spirula/rados/wire"

// addMgrCommands adds what a cluster without mgr, file systems of Ceph's and
// registered services has to say about them.
func addMgrCommands(t commands) {
	t.add("mgr dump name=epoch,type=CephInt,range=0,req=false", "show the map of managers", "r", func(c *call) {
		if !c.epoch(mgrEpoch) {
			return
		}
		c.show(obj{{"epoch", mgrEpoch}, {"active_gid", 0}, {"active_name", ""}, {"active_addrs", obj{{"addrvec", []any{}}}},
			{"active_addr", "(unrecognized address family 0)/0"}, {"active_change", "0.000000"}, {"active_mgr_features", 0}, {"available", false},
			{"standbys", []any{}}, {"modules", []any{}}, {"available_modules", []any{}}, {"services", obj{}},
			{"always_on_modules", obj{}}, {"last_failure_osd_epoch", 0}, {"active_clients", []any{}}})
	})
	t.add("mgr stat", "show the managers in short", "r", func(c *call) {
		c.show(obj{{"epoch", mgrEpoch}, {"available", false}, {"active_name", ""}, {"num_standby", 0}})
	})
	t.add("mgr module ls", "list the managers' modules", "r", func(c *call) {
		c.show(obj{{"always_on_modules", []any{}}, {"enabled_modules", []any{}}, {"disabled_modules", []any{}}})
	})
	t.add("mgr module enable name=module,type=CephString name=force,type=CephChoices,strings=--force,req=false", "enable a module", "rw", func(c *call) {
		c.fail(wire.ENOENT, "all mgr daemons do not support module '%s', pass --force to force enablement", c.args.str("module"))
	})
	t.add("mgr module disable name=module,type=CephString", "disable a module", "rw", func(c *call) { c.ok("") })
	t.add("mgr fail name=who,type=CephString,req=false", "replace a manager", "rw", func(c *call) { c.ok("Currently no active mgr") })
	for _, sig := range []string{"mgr services", "mgr versions", "service status", "fs status name=fs,type=CephString,req=false"} {
		t.add(sig, "show what there is of it: nothing", "r", func(c *call) { c.show(obj{}) })
	}
	t.add("mgr metadata name=who,type=CephString,req=false", "show what is known of managers", "r", func(c *call) { c.show([]any{}) })
	t.add("service dump", "show the registered services", "r", func(c *call) {
		c.show(obj{{"epoch", 1}, {"modified", "0.000000"}, {"services", obj{}}})
	})
	t.add("fs ls", "list file systems", "r", func(c *call) { c.output([]any{}, "No filesystems enabled\n") })
	t.add("fs dump name=epoch,type=CephInt,range=0,req=false", "show the file systems", "r", func(c *call) {
		c.output(obj{{"epoch", 1}, {"default_fscid", -1}, {"feature_flags", obj{{"enable_multiple", true}, {"ever_enabled_multiple", true}}},
			{"standbys", []any{}}, {"filesystems", []any{}}}, "e1\nenable_multiple, ever_enabled_multiple: 1,1\nlegacy client fscid: -1\n \nNo filesystems configured\n")
	})
	t.add("mds stat", "show the metadata servers", "r", func(c *call) {
		c.output(obj{{"fsmap", obj{{"epoch", 1}, {"default_fscid", -1}, {"standbys", []any{}}, {"filesystems", []any{}}}},
			{"mdsmap_first_committed", 1}, {"mdsmap_last_committed", 1}}, "\n")
	})
	t.add("device ls", "list devices", "r", func(c *call) { c.output([]any{}, "DEVICE  HOST:DEV  DAEMONS  WEAR  LIFE EXPECTANCY\n") })
	t.add("crash ls", "list crashes", "r", func(c *call) { c.output([]any{}, "") })
	t.add("progress", "show what is under way", "r", func(c *call) { c.output(obj{{"events", []any{}}, {"completed", []any{}}}, "\nNothing in progress\n") })
	t.add("balancer status", "show the balancer", "r", func(c *call) {
		c.show(obj{{"active", false}, {"last_optimize_duration", ""}, {"last_optimize_started", ""}, {"mode", "none"},
			{"optimize_result", ""}, {"plans", []any{}}})
	})
}
