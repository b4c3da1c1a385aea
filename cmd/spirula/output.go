package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// output is the -o flag of commands that show something.
type output struct{ format string }

func outputFlag(cmd *cobra.Command) *output {
	o := &output{}
	cmd.Flags().StringVarP(&o.format, "output", "o", "text", "text or json")
	return o
}

// print shows v as JSON, or what text writes.
func (o *output) print(w io.Writer, v any, text func(io.Writer)) error {
	switch o.format {
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(v)
	case "text":
		text(w)
		return nil
	}
	return usageError{fmt.Errorf("-o %s: want text or json", o.format)}
}
