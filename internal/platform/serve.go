package platform

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/internal/container"
)

// DefaultPort is where an app listens that nobody told otherwise.
const DefaultPort = 8080

// A PortError is a PORT that is none.
type PortError struct{ Port string }

func (e *PortError) Error() string { return fmt.Sprintf("PORT=%.40s is not a port", e.Port) }

// AppPort is where an app will listen: PORT as env (NAME=value) or the image sets it, the one port that the image exposes,
// or DefaultPort.
func AppPort(env []string, image v1.Config) (int, error) {
	v, ok := lookup(env, "PORT")
	if !ok {
		v, ok = lookup(image.Env, "PORT")
	}
	if ok {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > 65535 {
			return 0, &PortError{v}
		}
		return n, nil
	}
	if len(image.ExposedPorts) == 1 {
		for p := range image.ExposedPorts {
			number, _, _ := strings.Cut(p, "/")
			if n, err := strconv.Atoi(number); err == nil && n >= 1 && n <= 65535 {
				return n, nil
			}
		}
	}
	return DefaultPort, nil
}

// WithPort is env with PORT, which an app is told where it is to listen.
func WithPort(env []string, port int) []string {
	if _, ok := lookup(env, "PORT"); ok {
		return env
	}
	return append(slices.Clip(env), "PORT="+strconv.Itoa(port))
}

func lookup(env []string, name string) (string, bool) {
	for _, e := range slices.Backward(env) {
		if k, v, ok := strings.Cut(e, "="); k == name && ok {
			return v, true
		}
	}
	return "", false
}

// AppURL is the first TCP port of a container as people of this machine reach it; "" where it has none.
func AppURL(ports []container.Port) string {
	for _, p := range ports {
		if p.Protocol == "udp" || p.Host == 0 {
			continue
		}
		host := p.HostIP
		if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
			host = "127.0.0.1"
		}
		return "http://" + net.JoinHostPort(host, strconv.Itoa(p.Host))
	}
	return ""
}

// Answer asks a URL of this machine until something answers by HTTP, and returns the status. Where good is not nil, it says
// which status counts. alive, if not nil, says that there is somebody who could answer still.
func Answer(ctx context.Context, url string, wait time.Duration, alive func() bool, good func(status int) bool) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	client := &http.Client{
		Timeout:       5 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		// No proxy: it is this machine.
		Transport: &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10},
	}
	last := ""
	for pause := 20 * time.Millisecond; ; pause = min(pause*3/2, 500*time.Millisecond) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return "", err
		}
		if res, err := client.Do(req); err == nil {
			_ = res.Body.Close()
			if last = res.Status; good == nil || good(res.StatusCode) {
				return last, nil
			}
		}
		if alive != nil && !alive() {
			return "", errors.New("it has ended")
		}
		select {
		case <-ctx.Done():
			return last, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}
