package daemon

import (
	"github.com/slipway-build/slipway/internal/deploy"
)

// deployHost does what is to happen after releases.
func (d *Daemon) deployHost() (*deploy.Host, error) {
	var environ []string
	for _, name := range []string{"PATH", "HOME", "LANG"} {
		if v := d.host.Getenv(name); v != "" {
			environ = append(environ, name+"="+v)
		}
	}
	return deploy.New(deploy.Options{
		Store: d.store, Logs: d.logs, Dir: d.path("apps"), Machine: d.machineOf, Limits: d.service.Limits,
		Listen: d.config.Deploy.Listen, URL: d.config.Deploy.URL, Environ: environ, Fault: d.host.Fault,
	})
}
