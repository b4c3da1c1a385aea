package mon

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/spirula/spirula/rados/wire"
)

// optionKind says which values an option takes.
type optionKind uint8

const (
	optText    optionKind = iota
	optBool               // true, false or a number
	optInt                // with a decimal suffix: 4K is 4000
	optUint               // the same, not negative
	optFloat              // printed with six digits
	optSize               // bytes, with a binary suffix: 4K is 4096
	optSeconds            // with a unit, seconds without one
)

// option is a setting by name: its kind, and its value when nobody sets it.
type option struct {
	kind  optionKind
	value string
}

// ownOptions are the settings that the mon itself goes by. All of them can be
// changed at run time.
var ownOptions = map[string]option{
	"mon_allow_pool_delete":              {optBool, "true"},  // osd pool delete is not refused
	"mon_allow_pool_size_one":            {optBool, "true"},  // osd pool set size 1 is not refused
	"mon_max_pg_per_osd":                 {optUint, "4096"},  // replicas counted, on average
	"mon_max_pool_pg_num":                {optUint, "65536"}, // pg_num of one pool
	"mon_osd_min_down_reporters":         {optUint, "2"},     // OSDs that must report a failure, where there are so many
	"mon_osd_min_in_ratio":               {optFloat, "0.5"},  // of OSDs in: below it none is marked out by itself
	"mon_warn_on_pool_no_redundancy":     {optBool, "false"}, // health check of pools of size 1
	"mon_warn_on_pool_no_app":            {optBool, "true"},  // health check of pools without an application
	"osd_heartbeat_grace":                {optInt, "20"},     // seconds without an answer until an OSD is reported
	"osd_pool_default_min_size":          {optUint, "0"},     // 0: as Ceph derives it from the size
	"osd_pool_default_pg_autoscale_mode": {optText, "off"},
	"osd_pool_default_pg_num":            {optUint, "0"}, // 0: 8 for each OSD that is in, 8 to 32
	"osd_pool_default_size":              {optUint, "0"}, // 0: as many as there are OSDs in, at most 3
}

// knownOptions are settings that a mon keeps for others: clients of Ceph's go
// by theirs, and scripts set some of the rest, which have no effect here, as
// config set says. Those that would promise safety, of cephx, are not among
// them. The values are those of 16.2.
var knownOptions = map[string]option{
	"client_mount_timeout":                     {optSeconds, "300"},
	"crush_location":                           {optText, ""},
	"err_to_stderr":                            {optBool, "false"},
	"err_to_syslog":                            {optBool, "false"},
	"fatal_signal_handlers":                    {optBool, "true"},
	"heartbeat_inject_failure":                 {optInt, "0"},
	"log_file":                                 {optText, ""},
	"log_flush_on_exit":                        {optBool, "false"},
	"log_max_new":                              {optInt, "1000"},
	"log_max_recent":                           {optInt, "500"},
	"log_stderr_prefix":                        {optText, ""},
	"log_to_file":                              {optBool, "true"},
	"log_to_stderr":                            {optBool, "true"},
	"log_to_syslog":                            {optBool, "false"},
	"mon_client_directed_command_retry":        {optInt, "2"},
	"mon_client_hunt_interval":                 {optFloat, "3"},
	"mon_client_hunt_interval_backoff":         {optFloat, "1.5"},
	"mon_client_hunt_parallel":                 {optUint, "3"},
	"mon_client_log_interval":                  {optFloat, "1"},
	"mon_client_ping_interval":                 {optFloat, "10"},
	"mon_client_ping_timeout":                  {optFloat, "30"},
	"mon_clock_drift_allowed":                  {optFloat, "0.05"},
	"mon_cluster_log_to_file":                  {optBool, "true"},
	"mon_data_avail_crit":                      {optInt, "5"},
	"mon_data_avail_warn":                      {optInt, "30"},
	"mon_max_osd":                              {optInt, "10000"},
	"mon_max_snap_prune_per_epoch":             {optUint, "100"},
	"mon_osd_adjust_down_out_interval":         {optBool, "true"},
	"mon_osd_adjust_heartbeat_grace":           {optBool, "true"},
	"mon_osd_auto_mark_auto_out_in":            {optBool, "true"},
	"mon_osd_auto_mark_in":                     {optBool, "false"},
	"mon_osd_auto_mark_new_in":                 {optBool, "true"},
	"mon_osd_blocklist_default_expire":         {optFloat, "3600"},
	"mon_osd_down_out_interval":                {optInt, "600"},
	"mon_osd_down_out_subtree_limit":           {optText, "rack"},
	"mon_osd_min_up_ratio":                     {optFloat, "0.3"},
	"mon_osd_report_timeout":                   {optInt, "900"},
	"mon_osd_reporter_subtree_level":           {optText, "host"},
	"mon_pg_warn_min_per_osd":                  {optUint, "0"},
	"mon_warn_on_osd_down_out_interval_zero":   {optBool, "true"},
	"mon_warn_on_pool_pg_num_not_power_of_two": {optBool, "true"},
	"mon_warn_on_too_few_osds":                 {optBool, "true"},
	"ms_bind_ipv4":                             {optBool, "true"},
	"ms_bind_ipv6":                             {optBool, "false"},
	"ms_bind_port_max":                         {optInt, "7300"},
	"ms_bind_port_min":                         {optInt, "6800"},
	"ms_client_mode":                           {optText, "crc secure"},
	"ms_cluster_mode":                          {optText, "crc secure"},
	"ms_connection_idle_timeout":               {optUint, "900"},
	"ms_connection_ready_timeout":              {optUint, "10"},
	"ms_crc_data":                              {optBool, "true"},
	"ms_crc_header":                            {optBool, "true"},
	"ms_dispatch_throttle_bytes":               {optSize, "104857600"},
	"ms_initial_backoff":                       {optFloat, "0.2"},
	"ms_inject_delay_max":                      {optFloat, "1"},
	"ms_inject_delay_probability":              {optFloat, "0"},
	"ms_inject_delay_type":                     {optText, ""},
	"ms_inject_internal_delays":                {optFloat, "0"},
	"ms_inject_socket_failures":                {optUint, "0"},
	"ms_max_backoff":                           {optFloat, "15"},
	"ms_mon_client_mode":                       {optText, "secure crc"},
	"ms_mon_cluster_mode":                      {optText, "secure crc"},
	"ms_mon_service_mode":                      {optText, "secure crc"},
	"ms_service_mode":                          {optText, "crc secure"},
	"ms_tcp_nodelay":                           {optBool, "true"},
	"ms_tcp_rcvbuf":                            {optSize, "0"},
	"objecter_inflight_op_bytes":               {optSize, "104857600"},
	"objecter_inflight_ops":                    {optUint, "1024"},
	"objecter_inject_no_watch_ping":            {optBool, "false"},
	"objecter_tick_interval":                   {optFloat, "5"},
	"objecter_timeout":                         {optFloat, "10"},
	"osd_client_message_cap":                   {optUint, "256"},
	"osd_client_message_size_cap":              {optSize, "524288000"},
	"osd_client_op_priority":                   {optUint, "63"},
	"osd_client_watch_timeout":                 {optInt, "30"},
	"osd_crush_chooseleaf_type":                {optInt, "1"},
	"osd_crush_update_on_start":                {optBool, "true"},
	"osd_deep_scrub_interval":                  {optFloat, "604800"},
	"osd_default_notify_timeout":               {optUint, "30"},
	"osd_failsafe_full_ratio":                  {optFloat, "0.97"},
	"osd_heartbeat_interval":                   {optInt, "6"},
	"osd_heartbeat_min_peers":                  {optInt, "10"},
	"osd_max_attr_name_len":                    {optUint, "100"},
	"osd_max_attr_size":                        {optUint, "0"},
	"osd_max_backfills":                        {optUint, "1"},
	"osd_max_markdown_count":                   {optInt, "5"},
	"osd_max_markdown_period":                  {optInt, "600"},
	"osd_max_object_name_len":                  {optUint, "2048"},
	"osd_max_object_namespace_len":             {optUint, "256"},
	"osd_max_object_size":                      {optSize, "134217728"},
	"osd_max_omap_bytes_per_request":           {optSize, "1073741824"},
	"osd_max_omap_entries_per_request":         {optUint, "1024"},
	"osd_max_pg_log_entries":                   {optUint, "10000"},
	"osd_max_pgls":                             {optUint, "1024"},
	"osd_max_scrubs":                           {optInt, "1"},
	"osd_max_trimming_pgs":                     {optUint, "2"},
	"osd_max_write_size":                       {optSize, "90"},
	"osd_memory_target":                        {optSize, "4294967296"},
	"osd_min_pg_log_entries":                   {optUint, "250"},
	"osd_op_complaint_time":                    {optFloat, "30"},
	"osd_op_history_duration":                  {optUint, "600"},
	"osd_op_history_size":                      {optUint, "20"},
	"osd_op_thread_timeout":                    {optInt, "15"},
	"osd_pool_default_crush_rule":              {optInt, "-1"},
	"osd_pool_default_erasure_code_profile":    {optText, "plugin=jerasure technique=reed_sol_van k=2 m=2"},
	"osd_pool_default_flag_hashpspool":         {optBool, "true"},
	"osd_pool_default_flag_nodelete":           {optBool, "false"},
	"osd_pool_default_flag_nopgchange":         {optBool, "false"},
	"osd_pool_default_flag_nosizechange":       {optBool, "false"},
	"osd_pool_default_pgp_num":                 {optUint, "0"},
	"osd_pool_default_type":                    {optText, "replicated"},
	"osd_recovery_delay_start":                 {optFloat, "0"},
	"osd_recovery_max_active":                  {optUint, "0"},
	"osd_recovery_max_chunk":                   {optSize, "8388608"},
	"osd_recovery_max_single_start":            {optUint, "1"},
	"osd_recovery_op_priority":                 {optUint, "3"},
	"osd_recovery_sleep":                       {optFloat, "0"},
	"osd_scrub_begin_hour":                     {optInt, "0"},
	"osd_scrub_during_recovery":                {optBool, "false"},
	"osd_scrub_end_hour":                       {optInt, "0"},
	"osd_scrub_load_threshold":                 {optFloat, "0.5"},
	"osd_scrub_max_interval":                   {optFloat, "604800"},
	"osd_scrub_min_interval":                   {optFloat, "86400"},
	"osd_scrub_sleep":                          {optFloat, "0"},
	"osd_snap_trim_sleep":                      {optFloat, "0"},
	"rados_mon_op_timeout":                     {optSeconds, "0"},
	"rados_osd_op_timeout":                     {optSeconds, "0"},
	"rados_tracing":                            {optBool, "false"},
}

// debugLevel is what a "debug_..." setting of any subsystem takes: a level for
// the log, and one for what is kept in memory.
var debugLevel = regexp.MustCompile(`^[0-9]{1,2}(/[0-9]{1,2})?$`)

// optionOf gives the option of that name, if there is one.
func optionOf(name string) (option, bool) {
	if o, ok := ownOptions[name]; ok {
		return o, true
	}
	o, ok := knownOptions[name]
	return o, ok
}

// defaultOf gives what a setting is when nobody sets it.
func defaultOf(name string) (string, bool) {
	o, ok := optionOf(name)
	if !ok {
		return "", false
	}
	if v, err := o.parse(o.value); err == nil {
		return v, true
	}
	return o.value, true
}

// parseSetting gives a value as it is kept. Names of modules' options, with a
// slash, are taken as they come, and with force unknown ones; otherwise those
// are EINVAL, as are values of another kind.
func parseSetting(name, value string, force bool) (string, error) {
	if strings.HasPrefix(name, "debug_") {
		if !debugLevel.MatchString(value) {
			return "", wire.Errorf("error parsing value", "value must take the form N or N/M, where N and M are integers", wire.EINVAL)
		}
		return value, nil
	}
	o, ok := optionOf(name)
	if !ok && !force && !strings.Contains(name, "/") {
		return "", wire.Errorf("unrecognized config option", "'"+name+"'", wire.EINVAL)
	}
	return o.parse(value)
}

// parse gives a value as it is kept and printed.
func (o option) parse(s string) (string, error) {
	bad := func(why string) (string, error) { return "", wire.Errorf("error parsing value", why, wire.EINVAL) }
	switch o.kind {
	case optBool:
		n, err := strconv.ParseInt(s, 10, 64)
		if s == "true" || s == "false" {
			return s, nil
		}
		if err != nil {
			return bad(fmt.Sprintf("expected true, false or an integer, got '%s'", s))
		}
		return strconv.FormatBool(n != 0), nil
	case optInt, optUint, optSize:
		base := uint64(1000)
		if o.kind == optSize {
			base = 1024
		}
		digits, sign := s, ""
		if o.kind == optInt && strings.HasPrefix(s, "-") {
			digits, sign = s[1:], "-"
		}
		n, ok := parseScaled(digits, base)
		if !ok {
			return bad(fmt.Sprintf("'%s' is not an integer of this option's range, with a suffix of K to E", s))
		}
		return sign + strconv.FormatUint(n, 10), nil
	case optFloat:
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			return bad(fmt.Sprintf("'%s' is not a number", s))
		}
		return strconv.FormatFloat(f, 'f', 6, 64), nil
	case optSeconds:
		if _, err := strconv.ParseUint(strings.TrimRight(s, "smhdwy"), 10, 32); err != nil {
			return bad(fmt.Sprintf("'%s' is not a duration", s))
		}
	}
	return s, nil
}
