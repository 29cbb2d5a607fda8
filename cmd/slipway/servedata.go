package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/daemon"
	"github.com/slipway-build/slipway/internal/transcript"
)

// serveData is --data of the commands that work on a data directory, as serve itself would find it.
func (a *app) serveData(cmd *cobra.Command, given string) (string, error) {
	texts := map[string]*string{}
	for _, k := range serveKeys(&daemon.Config{}) {
		texts[k.name] = new(string)
	}
	texts["data"] = &given
	c, err := a.serveConfig(cmd, "", texts)
	return c.Data, err
}

func (a *app) serveBackupCommand() *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use: "backup FILE", Short: "Write all that the service keeps to one file, while it runs or not",
		Long: `Write all that the service keeps to one file (- is standard output), a tar: its record
as it stands at one moment, and at least what that names. The service may run
meanwhile. The key of its secrets is in the file: keep it where nobody else reads it.`,
		Example: `  slipway serve backup /backup/slipway.tar
  slipway serve backup - | zstd > slipway.tar.zst`,
		Args: wants("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			from, err := a.serveData(cmd, data)
			if err != nil {
				return err
			}
			if args[0] == "-" {
				return daemon.Backup(cmd.Context(), from, a.stdout)
			}
			return writeWhole(args[0], func(w io.Writer) error { return daemon.Backup(cmd.Context(), from, w) })
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "`DIRECTORY` of the service")
	return cmd
}

// writeWhole writes a new file that is there in whole or not at all, for its owner alone.
func writeWhole(name string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

func (a *app) serveRestoreCommand() *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Make a data directory of a backup",
		Long:    "Make a data directory of a backup (- is standard input). It must be empty, or not be there yet.",
		Example: "  slipway serve restore /backup/slipway.tar --data /var/lib/slipway/service",
		Args:    wants("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			to, err := a.serveData(cmd, data)
			if err != nil {
				return err
			}
			in := a.stdin
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			if err := daemon.Restore(cmd.Context(), in, to); err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "Restored to %s\n", to)
			return nil
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "`DIRECTORY` of the service")
	return cmd
}

func (a *app) serveAdminTokenCommand() *cobra.Command {
	var data, user string
	cmd := &cobra.Command{
		Use: "admin-token", Short: "Make a token of an administrator, on the service's own machine",
		Long: `Make a token of an administrator, where the one that the first start printed is lost.
It works on the data directory, as who may read that, whether the service runs or not.
Other tokens stay as they are: slipway tokens revoke ends them.`,
		Example: `  slipway serve admin-token
  slipway serve admin-token --user ada@example.com --data /var/lib/slipway/service`,
		Args: wants(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			at, err := a.serveData(cmd, data)
			if err != nil {
				return err
			}
			who, text, err := daemon.AdminToken(cmd.Context(), at, user)
			if err != nil {
				return err
			}
			if !a.quiet {
				fmt.Fprintf(a.stderr, "A token of %s for everything. Keep it: it is not shown again.\n", transcript.Clean(who.Name, false))
			}
			fmt.Fprintln(a.stdout, text)
			return nil
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "`DIRECTORY` of the service")
	cmd.Flags().StringVar(&user, "user", "", "`NAME` of the administrator (default admin)")
	return cmd
}

func (a *app) serveUnitCommand() *cobra.Command {
	return &cobra.Command{
		Use: "systemd", Short: "Print a systemd unit that runs the service",
		Long: `Print a systemd unit that runs this binary as the service, with its data in
/var/lib/slipway and its settings in ` + serveConfigFile + `. It runs as root: containers without
a daemon need that.`,
		Example: `  slipway serve systemd > /etc/systemd/system/slipway.service
  systemctl daemon-reload && systemctl enable --now slipway`,
		Args: wants(),
		RunE: func(*cobra.Command, []string) error {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, unit, self)
			return nil
		},
	}
}

// unit stops with SIGTERM and waits longer than the drain time. Delegate gives builds cgroups of their own.
const unit = `[Unit]
Description=Slipway build service
Documentation=https://github.com/slipway-build/slipway
After=network-online.target docker.service
Wants=network-online.target

[Service]
Type=exec
ExecStart=%s serve
Environment=SLIPWAY_HOME=/var/lib/slipway
StateDirectory=slipway
StateDirectoryMode=0700
Delegate=yes
KillMode=mixed
TimeoutStopSec=11min
Restart=on-failure
RestartSec=2
LimitNOFILE=65536
ProtectHome=read-only
PrivateTmp=yes

[Install]
WantedBy=multi-user.target
`
