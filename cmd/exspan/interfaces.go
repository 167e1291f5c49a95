package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/exspan/exspan/capture/live"
	"github.com/exspan/exspan/cmd/exspan/internal/pipeline"
)

func newInterfacesCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "interfaces",
		Short: "List the interfaces that can be captured from",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			devices, err := live.List()
			if err != nil {
				return pipeline.Error{Err: err}
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, d := range devices {
				state := "down"
				switch {
				case d.Running:
					state = "running"
				case d.Up:
					state = "up"
				}
				if d.Loopback {
					state += ", loopback"
				}
				more := strings.Join(d.Addresses, " ")
				if d.Description != "" {
					more = strings.TrimSpace(d.Description + " " + more)
				}
				fmt.Fprintf(w, "%s\t%s\t%s\n", d.Name, state, more)
			}
			return w.Flush()
		},
	}
}
