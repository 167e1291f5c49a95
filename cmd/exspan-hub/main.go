// Command exspan-hub is where sensors share what they learn: a NATS server with
// JetStream, set up for exspan.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/exspan/exspan/cmd/internal/flagfile"
	"github.com/exspan/exspan/cmd/internal/manpage"
	"github.com/exspan/exspan/exporter/share"
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newRootCmd().ExecuteContext(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "exspan-hub: %v\n", err)
		code := 2
		if errors.As(err, new(runError)) {
			code = 1
		}
		os.Exit(code)
	}
}

// runError is an error of a hub that was started as it should be.
type runError struct{ error }

func (e runError) Unwrap() error { return e.error }

func newRootCmd() *cobra.Command { return newCmd(&hub{}) }

// newCmd returns the command whose flags are those of h.
func newCmd(h *hub) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exspan-hub",
		Short: "Let sensors share what they learn",
		Long: `Run a NATS server with JetStream through which the monitors of exspan share
endpoints, roles, versions and names (exspan monitor --share). Each sensor needs
a user, which "exspan-hub user add" creates, and can write under its own name alone.

The hub listens on this machine only, unless --listen says otherwise. For other
addresses it uses TLS, with the certificate that --tls-cert names or with one of its
own, hub.crt in the data folder, which sensors get with --share-ca. The file that
--config.file names can set every flag: its keys are their long names.

Exit codes: 0 done, 1 a run-time error, 2 a mistake in flags or files.`,
		Example: `  exspan-hub user add span-berlin
  exspan-hub --listen :4222
  exspan monitor -i eth1 --sensor span-berlin --share tls://hub.example.com --share-credentials span-berlin.nk --share-ca hub.crt`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := h.configure(cmd); err != nil {
				return err
			}
			return h.run(cmd.Context(), cmd.ErrOrStderr())
		},
	}
	cmd.SetVersionTemplate("exspan-hub {{.Version}}\n")
	cmd.PersistentFlags().StringVar(&h.dir, "data", "/var/lib/exspan-hub", "`FOLDER` of users and of what sensors share")
	f := cmd.Flags()
	f.StringVar(&h.listen, "listen", "localhost:4222", "`ADDRESS` to listen on")
	f.StringVar(&h.cert, "tls-cert", "", "`FILE` with the certificate of the hub, in PEM form")
	f.StringVar(&h.key, "tls-key", "", "`FILE` with its key")
	f.Int64Var(&h.maxKeys, "max-facts", 100_000, "`NUMBER` of facts that one sensor may share")
	f.Int64Var(&h.maxBytes, "max-size", 1<<30, "`BYTES` that all facts may take on disk")
	f.StringVar(&h.configFile, "config.file", "", "`FILE` of flags in YAML; flags on the command line take precedence")
	user := &cobra.Command{Use: "user", Short: "Add, list and remove sensors", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	user.AddCommand(newAddCmd(h), newListCmd(h), newRemoveCmd(h))
	cmd.AddCommand(user, newConfigCmd(h), newBucketCmd(h),
		manpage.Command(version, nil, func(err error) error { return runError{err} }))
	return cmd
}

// configure sets the flags of the hub from the file of --config.file, if there is one.
func (h *hub) configure(cmd *cobra.Command) error {
	if h.configFile == "" {
		return nil
	}
	data, err := os.ReadFile(h.configFile)
	if err != nil {
		return fmt.Errorf("--config.file: %w", err)
	}
	return flagfile.Apply(cmd.Flags(), nil, h.configFile, data, "config.file", "help", "version")
}

func newAddCmd(h *hub) *cobra.Command {
	u, file := user{}, ""
	cmd := &cobra.Command{
		Use:   "add [flags] SENSOR",
		Short: "Add a sensor, and write the credentials that it needs",
		Long: `Add a user for a sensor, and write a new secret key to SENSOR.nk, which the
sensor gets with --share-credentials. The hub keeps the public key alone. A running hub
takes the user in at once. A sensor that is added again gets a new key.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if u.Name = args[0]; file == "" {
				file = filepath.Base(u.Name) + ".nk"
			}
			if err := h.add(u, file); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s of realm %s: give the file %s to that sensor alone\n", u.Name, u.Realm, file)
			return nil
		},
	}
	cmd.Flags().StringVar(&u.Realm, "realm", "default", "`NAME` of the sensor's address space, as it is given to exspan monitor")
	cmd.Flags().BoolVar(&u.Viewer, "viewer", false, "one who watches what sensors report, and writes nothing")
	cmd.Flags().BoolVar(&u.Admin, "admin", false, "one who may create the bucket on a NATS server of your own")
	cmd.Flags().StringVarP(&file, "output", "o", "", "`FILE` to write the key to (default SENSOR.nk)")
	return cmd
}

func newListCmd(h *hub) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List the users", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		users, err := h.users()
		for _, u := range users {
			what := "sensor"
			if u.Viewer {
				what = "viewer"
			} else if u.Admin {
				what = "admin"
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%-24s %-16s %s  %s\n", u.Name, u.Realm, what, u.Key)
		}
		return err
	}}
}

func newRemoveCmd(h *hub) *cobra.Command {
	realm := ""
	cmd := &cobra.Command{
		Use:   "remove [flags] SENSOR",
		Short: "Remove a user; a running hub disconnects it at once",
		Args:  cobra.ExactArgs(1),
		RunE:  func(_ *cobra.Command, args []string) error { return h.remove(realm, args[0]) },
	}
	cmd.Flags().StringVar(&realm, "realm", "default", "`NAME` of the user's address space")
	return cmd
}

func newConfigCmd(h *hub) *cobra.Command {
	return &cobra.Command{
		Use:   "config",
		Short: "Print the users as configuration of another NATS server",
		Long: `Print what a NATS server of your own needs, in place of a hub: JetStream, and the
users with what each may write and read. "exspan-hub bucket" creates the bucket there, with
the key of a user that was added with --admin.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return h.config(cmd.OutOrStdout()) },
	}
}

func newBucketCmd(h *hub) *cobra.Command {
	o := share.Options{Sensor: "exspan-hub"}
	cmd := &cobra.Command{
		Use:   "bucket [flags] URL",
		Short: "Create the bucket on another NATS server",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.URL = args[0]
			if err := o.Check(); err != nil {
				return err
			}
			if err := share.CreateBucket(cmd.Context(), o, h.maxBytes); err != nil {
				return runError{err}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&o.Credentials, "credentials", "", "`FILE` with the key of a user that may, or with NATS credentials")
	cmd.Flags().StringVar(&o.CA, "ca", "", "`FILE` with the certificates that sign the server's")
	cmd.Flags().StringVar(&o.Realm, "realm", "default", "`NAME` of the user's address space")
	return cmd
}
