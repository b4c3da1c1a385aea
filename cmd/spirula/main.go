// Command spirula is objects and files from one binary: a RADOS core, a
// namespace over it, and S3 and NFSv3 in front.
//
//	spirula up DIR        everything in one process
//	spirula mon DIR       one monitor alone
//	spirula osd DIR       one OSD alone, of a cluster with other processes
//	spirula status        what a running one is doing
//	spirula user ...      S3 users of a running one
//	spirula config        the active settings
//	spirula dump, fsck    look into a data directory that is not in use
//	spirula crushtool, osdmaptool
//	                      Ceph's tools of these names
//	spirula version
//
// Exit status: 0 done; 1 the operation failed, and one line on stderr says
// what and what to do; 2 the command line was wrong. crushtool and osdmaptool
// end as the originals do.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(run(os.Args[1:]))
}

// usageError marks a wrong command line.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// usageArgs makes wrong arguments of cmd and all below it usage errors, also
// a name that a group of commands does not have.
func usageArgs(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		usageArgs(c)
	}
	if cmd.HasParent() && cmd.HasSubCommands() && !cmd.Runnable() {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
			}
			return nil
		}
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError{err}
			}
			return nil
		}
	}
}

func run(args []string) int {
	root := &cobra.Command{
		Use:           "spirula",
		Short:         "Objects and files from one binary: S3 and NFS over a RADOS core",
		SilenceUsage:  true,
		SilenceErrors: true,
		// An error is one line.
		DisableSuggestions: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(upCommand(), monCommand(), osdCommand(), statusCommand(), userCommand(), configCommand(), versionCommand(),
		dumpCommand(), fsckCommand(), crushtoolCommand(), osdmaptoolCommand())
	usageArgs(root)
	root.SetArgs(args)
	err := root.Execute()
	if err == nil {
		return 0
	}
	var status exitStatus
	if errors.As(err, &status) {
		return int(status)
	}
	fmt.Fprintln(os.Stderr, "spirula:", err)
	var usage usageError
	// Cobra itself refuses a name that the root does not have.
	if strings.HasPrefix(err.Error(), "unknown command ") || errors.As(err, &usage) {
		return 2
	}
	return 1
}
