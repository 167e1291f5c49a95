package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/exspan/exspan/classify"
	"github.com/exspan/exspan/cmd/exspan/internal/pipeline"
	"github.com/exspan/exspan/cmd/internal/manpage"
)

// newManCmd writes the manual pages.
func newManCmd() *cobra.Command {
	return manpage.Command(version, manMemory, func(err error) error { return pipeline.Error{Err: err} })
}

// manMemory returns the section on --max-memory, for the commands that have that flag.
func manMemory(cmd *cobra.Command) string {
	if cmd.Flags().Lookup("max-memory") == nil {
		return ""
	}
	var b strings.Builder
	b.WriteString(".SH MEMORY\nOf \\fB" + manpage.Roff("--max-memory") + "\\fP, 48 MiB are for the program, and the buffers come off next. " +
		"The rest is divided as follows. The number in brackets is how much there is room for with 512 MiB and without buffers. " +
		"Two endpoints that other sensors told take the room of one. " +
		"What is given up is counted in the summary and by the metric exspan_limit_reached_total, under the names given.\n")
	for _, s := range classify.SharesOf(monitorMemory - 48<<20) {
		room := fmt.Sprint(s.Room)
		if s.Each == 1 {
			room = fmt.Sprintf("%d MiB", s.Room>>20)
		}
		fmt.Fprintf(&b, ".TP\n%s\n%s: %d %% (%s). When it is used up, %s. Counted as %s.\n", "\\fB"+manpage.Roff(s.ID)+"\\fP",
			manpage.Roff(s.Name), s.Percent, room, manpage.Roff(s.Full), manpage.Roff(strings.Join(s.Limits, ", ")))
	}
	return b.String()
}
