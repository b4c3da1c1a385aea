package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func userCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Manage the S3 users of a running spirula",
		Long: `Manage the S3 users of a running spirula. A user's uid and gid own what the user
makes, as NFS shows it. A bucket belongs to the user who made it.`,
	}
	dir := addRunningFlags(cmd)
	cmd.AddCommand(userAdd(dir), userList(dir), userRemove(dir), userKeyCommand(dir))
	return cmd
}

func oneName(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError{errors.New("give the name of one user")}
	}
	return nil
}

func userAdd(dir *string) *cobra.Command {
	var req userRequest
	var uid, gid uint32
	cmd := &cobra.Command{Use: "add NAME", Short: "Make a user and print its keys", Args: oneName}
	output := outputFlag(cmd)
	cmd.Flags().StringVar(&req.AccessKey, "access-key", "", "access key; generated if empty")
	cmd.Flags().StringVar(&req.SecretKey, "secret-key", "", "secret key; generated if empty")
	cmd.Flags().Uint32Var(&uid, "uid", 0, "uid that owns the user's objects over NFS (default: that of the data directory's owner)")
	cmd.Flags().Uint32Var(&gid, "gid", 0, "gid likewise (default: the uid's number where a uid is given)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if (req.AccessKey == "") != (req.SecretKey == "") {
			return usageError{errors.New("give both --access-key and --secret-key, or neither")}
		}
		req.Name = args[0]
		if cmd.Flags().Changed("uid") {
			req.UID = &uid
		}
		if cmd.Flags().Changed("gid") {
			req.GID = &gid
		}
		return askUser(cmd, *dir, "/users", req, output)
	}
	return cmd
}

func userKeyCommand(dir *string) *cobra.Command {
	var req userRequest
	cmd := &cobra.Command{Use: "key NAME", Short: "Print a user's keys, or replace them by new ones", Args: oneName}
	output := outputFlag(cmd)
	cmd.Flags().BoolVar(&req.Rotate, "new", false, "replace the user's keys by a new pair; the old ones stop working within seconds")
	cmd.Flags().StringVar(&req.AccessKey, "access-key", "", "replace the user's keys by this one")
	cmd.Flags().StringVar(&req.SecretKey, "secret-key", "", "and this secret")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if (req.AccessKey == "") != (req.SecretKey == "") {
			return usageError{errors.New("give both --access-key and --secret-key, or neither")}
		}
		req.Name = args[0]
		return askUser(cmd, *dir, "/users/key", req, output)
	}
	return cmd
}

func askUser(cmd *cobra.Command, dir, path string, req userRequest, output *output) error {
	dir, err := runningDir(cmd, dir)
	if err != nil {
		return err
	}
	var u userInfo
	if err := askAdmin(cmd.Context(), dir, "POST", path, req, &u); err != nil {
		return err
	}
	return output.print(cmd.OutOrStdout(), u, func(w io.Writer) {
		t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
		defer t.Flush()
		fmt.Fprintf(t, "user\t%s (uid %d, gid %d)\n", u.Name, u.UID, u.GID)
		for _, k := range u.Keys {
			fmt.Fprintf(t, "access key\t%s\nsecret key\t%s\n", k.AccessKey, k.SecretKey)
		}
	})
}

func userList(dir *string) *cobra.Command {
	cmd := &cobra.Command{Use: "ls", Short: "List users", Args: cobra.NoArgs}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := runningDir(cmd, *dir)
		if err != nil {
			return err
		}
		list := []userInfo{}
		if err := askAdmin(cmd.Context(), dir, "GET", "/users", nil, &list); err != nil {
			return err
		}
		return output.print(cmd.OutOrStdout(), list, func(w io.Writer) {
			t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
			defer t.Flush()
			fmt.Fprintln(t, "NAME\tUID\tGID\tADMIN\tACCESS KEYS")
			for _, u := range list {
				var keys []string
				for _, k := range u.Keys {
					keys = append(keys, k.AccessKey)
				}
				fmt.Fprintf(t, "%s\t%d\t%d\t%v\t%s\n", u.Name, u.UID, u.GID, u.Admin, strings.Join(keys, " "))
			}
		})
	}
	return cmd
}

func userRemove(dir *string) *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME", Short: "Remove a user and its keys; its buckets stay, for admins to use", Args: oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := runningDir(cmd, *dir)
			if err != nil {
				return err
			}
			var none struct{}
			return askAdmin(cmd.Context(), dir, "POST", "/users/remove", userRequest{Name: args[0]}, &none)
		},
	}
}
