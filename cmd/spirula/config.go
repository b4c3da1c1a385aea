package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// config is everything that can be set. Each field is a flag, an environment
// variable (SPIRULA_ and the flag's name in capitals, - as _) and a key of
// the YAML file (the flag's name); a flag beats the environment, which beats
// the file, which beats the default.
type config struct {
	S3        string `flag:"s3" default:":9000" help:"address of the S3 gateway"`
	NFS       string `flag:"nfs" default:"127.0.0.1:2049" help:"address of the NFS gateway (NFS and MOUNT); loopback by default, because AUTH_SYS trusts the client's word on who it is"`
	Squash    string `flag:"nfs-squash" default:"none" help:"none, or root: uid 0 of NFS clients becomes nobody"`
	Status    string `flag:"status" default:"127.0.0.1:9001" help:"address of the status page, health, metrics and pprof"`
	Mon       string `flag:"mon" default:"127.0.0.1:3300" help:"address of the mon, for rados, ceph and other clients of the RADOS protocol; the OSD listens on the same IP; off: no such clients"`
	Auth      string `flag:"auth" default:"cephx" help:"cephx, or none: RADOS clients are believed who they are"`
	AccessKey string `flag:"access-key" help:"S3 access key of the first user; generated on the first start if empty"`
	SecretKey string `flag:"secret-key" secret:"yes" help:"S3 secret key of the first user; generated on the first start if empty"`
	Domain    string `flag:"domain" help:"domain for virtual-host style S3 requests (BUCKET.DOMAIN); path style always works"`
	Region    string `flag:"region" help:"the one region that S3 requests may be signed for; empty: any is taken, and us-east-1 is told"`
	Memory    string `flag:"memory" default:"192MiB" help:"memory budget for caches and data in flight"`
	LogLevel  string `flag:"log-level" default:"info" help:"debug, info, warn or error"`
}

const configFlag = "config"

// addFlags declares a flag for each setting.
func (c *config) addFlags(f *pflag.FlagSet) {
	f.String(configFlag, "", "YAML file with settings, named as the flags are")
	c.each(func(s setting) { f.String(s.name, s.def, s.help) })
}

type setting struct {
	name, def, help string
	secret          bool
	value           reflect.Value
}

func (c *config) each(f func(setting)) {
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		t := v.Type().Field(i).Tag
		f(setting{t.Get("flag"), t.Get("default"), t.Get("help"), t.Get("secret") != "", v.Field(i)})
	}
}

func envName(name string) string {
	return "SPIRULA_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// load fills c from cmd's flags, the environment and the file.
func (c *config) load(cmd *cobra.Command) error {
	file, err := configFile(cmd)
	if err != nil {
		return err
	}
	flags := cmd.Flags()
	c.each(func(s setting) {
		value := s.def
		if v, ok := file[s.name]; ok {
			value = v
			delete(file, s.name)
		}
		if v, ok := os.LookupEnv(envName(s.name)); ok {
			value = v
		}
		if flags.Changed(s.name) {
			value, _ = flags.GetString(s.name)
		}
		s.value.SetString(value)
	})
	for name := range file {
		return fmt.Errorf("the settings file has an unknown setting %q: `spirula config` lists the known ones", name)
	}
	return c.check()
}

func configFile(cmd *cobra.Command) (map[string]string, error) {
	name, _ := cmd.Flags().GetString(configFlag)
	if name == "" {
		name = os.Getenv(envName(configFlag))
	}
	if name == "" {
		return nil, nil
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("can't read the settings file: %w", err)
	}
	file := map[string]string{}
	if err := yaml.Unmarshal(b, &file); err != nil {
		return nil, fmt.Errorf("settings file %s: %w", name, err)
	}
	return file, nil
}

func (c *config) check() error {
	if (c.AccessKey == "") != (c.SecretKey == "") {
		return usageError{errors.New("give both --access-key and --secret-key, or neither")}
	}
	if _, err := parseSize(c.Memory); err != nil {
		return usageError{fmt.Errorf("--memory %s: %w", c.Memory, err)}
	}
	switch c.LogLevel {
	case "debug", "info", "warn", "error":
	default:
		return usageError{fmt.Errorf("--log-level %s: want debug, info, warn or error", c.LogLevel)}
	}
	if c.Auth != authCephx && c.Auth != authNone {
		return usageError{fmt.Errorf("--auth %s: want cephx or none", c.Auth)}
	}
	if c.Squash != "none" && c.Squash != "root" {
		return usageError{fmt.Errorf("--nfs-squash %s: want none or root", c.Squash)}
	}
	return nil
}

// memory is the budget in bytes.
func (c *config) memory() int64 {
	n, _ := parseSize(c.Memory)
	return n
}

// minMemory is the least budget that all the caches can work in.
const minMemory = 64 << 20

// parseSize reads a size such as 192MiB, 1GiB, 64m or 1000000.
func parseSize(s string) (int64, error) {
	t := strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(strings.TrimSpace(s)), "b"), "i")
	shift := 0
	if t != "" {
		switch t[len(t)-1] {
		case 'k':
			shift = 10
		case 'm':
			shift = 20
		case 'g':
			shift = 30
		case 't':
			shift = 40
		}
		if shift > 0 {
			t = t[:len(t)-1]
		}
	}
	n, err := strconv.ParseInt(t, 10, 32)
	if err != nil {
		n, err = strconv.ParseInt(t, 10, 64)
		if err != nil || shift > 0 {
			return 0, errors.New("want a size such as 192MiB")
		}
	}
	if n <<= shift; n < minMemory {
		return 0, fmt.Errorf("at least %dMiB are needed", minMemory>>20)
	}
	return n, nil
}

// write prints the settings as the YAML file that would set them; secrets as
// stars.
func (c *config) write(w io.Writer) {
	c.each(func(s setting) {
		v := s.value.String()
		if s.secret && v != "" {
			v = "********"
		}
		fmt.Fprintf(w, "%s: %s\n", s.name, strconv.Quote(v))
	})
}

// values gives the settings by name; secrets as stars.
func (c *config) values() map[string]string {
	m := map[string]string{}
	c.each(func(s setting) {
		m[s.name] = s.value.String()
		if s.secret && m[s.name] != "" {
			m[s.name] = "********"
		}
	})
	return m
}

func configCommand() *cobra.Command {
	var c config
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the settings that flags, environment and file give, as a settings file",
		Args:  cobra.NoArgs,
	}
	output := outputFlag(cmd)
	c.addFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := c.load(cmd); err != nil {
			return err
		}
		return output.print(cmd.OutOrStdout(), c.values(), func(w io.Writer) { c.write(w) })
	}
	return cmd
}
