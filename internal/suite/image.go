package suite

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
)

const (
	maxContent = 8 << 20          // bytes of a file, an SBOM or an answer that are looked at
	answerTime = 30 * time.Second // until an app has to answer
)

func (t *trial) cacheKey() string { return "suite-" + filepath.Base(t.tmp) }

// image makes an image of the app, and looks at what is expected of it.
func (t *trial) image(ctx context.Context, e Expect) (*Image, error) {
	o := t.options
	dir := filepath.Join(t.tmp, "image")
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	o.Image, o.Output, o.Cache = "slipway/suite", platform.Output{OCI: dir}, platform.Cache{Key: t.cacheKey()}
	o.SBOMDir = filepath.Join(t.tmp, "sbom")
	if err := os.RemoveAll(o.SBOMDir); err != nil {
		return nil, err
	}
	done, err := platform.Build(ctx, t.r.Machine, o, t.log)
	if err != nil {
		return nil, err
	}
	img, err := (&image.Resolver{Images: t.r.Machine.Images}).Resolve(ctx, "oci:"+dir)
	if err != nil {
		return nil, err
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	i := &Image{Labels: cf.Config.Labels, Bytes: done.Bytes}
	if i.Files, err = filesOf(img, e.Files); err != nil {
		return nil, err
	}
	if len(e.SBOMs) > 0 {
		if i.SBOMs, err = textsBelow(o.SBOMDir); err != nil {
			return nil, err
		}
	}
	if len(e.Env) > 0 {
		if i.Env, err = t.environment(ctx, "oci:"+dir); err != nil {
			return nil, err
		}
	}
	if len(e.HTTP) > 0 {
		i.HTTP, err = t.answers(ctx, "oci:"+dir, cmp.Or(done.Default, "web"), e.HTTP)
	}
	return i, err
}

// absolute is a path as the keys of Image.Files are.
func absolute(p string) string { return path.Clean("/" + p) }

// filesOf finds files of an image. Of a directory there is no content, and of a link its target.
func filesOf(img v1.Image, want []File) (map[string]ImageFile, error) {
	out := map[string]ImageFile{}
	wanted := map[string]bool{}
	for _, f := range want {
		wanted[absolute(f.Path)] = true
	}
	if len(wanted) == 0 {
		return out, nil
	}
	all := mutate.Extract(img)
	defer all.Close()
	for tr := tar.NewReader(all); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the image: %w", err)
		}
		name := absolute(h.Name)
		if !wanted[name] {
			continue
		}
		content := h.Linkname
		if h.Typeflag == tar.TypeReg {
			b, err := io.ReadAll(io.LimitReader(tr, maxContent))
			if err != nil {
				return nil, fmt.Errorf("read the image: %w", err)
			}
			content = string(b)
		}
		out[name] = ImageFile{h.Mode & 0o7777, content}
	}
}

// textsBelow reads the regular files of a directory.
func textsBelow(dir string) (map[string]string, error) {
	out := map[string]string{}
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return out, fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := root.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		b, err := io.ReadAll(io.LimitReader(f, maxContent))
		out[name] = string(b)
		return err
	})
}

// environment is that of a process which the launcher starts.
func (t *trial) environment(ctx context.Context, img string) (map[string]string, error) {
	var b bytes.Buffer
	err := platform.RunProcess(ctx, t.r.Machine, platform.Process{Image: img, Command: []string{"--", "env", "-0"}, Output: &b, Limits: platform.Limits{Time: answerTime}})
	if err != nil {
		return nil, fmt.Errorf("read the image's environment: %w", err)
	}
	out := map[string]string{}
	for kv := range strings.SplitSeq(b.String(), "\x00") {
		if k, v, ok := strings.Cut(kv, "="); ok {
			out[k] = v
		}
	}
	return out, nil
}

// answers starts a process of the image, and asks it.
func (t *trial) answers(ctx context.Context, img, process string, want []HTTP) ([]Answer, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	url, ended := make(chan string, 1), make(chan error, 1) // so that nobody waits for who has left
	log := &logUI{}
	go func() {
		ended <- platform.RunProcess(ctx, t.r.Machine, platform.Process{Image: img, Type: process, Serve: true, Output: log, Started: func(i container.Info) { url <- platform.AppURL(i.Ports) }})
	}()
	out := make([]Answer, len(want))
	var at string
	select {
	case at = <-url:
	case err := <-ended:
		return nil, fmt.Errorf("start process %s: %w", process, err)
	}
	over := make(chan struct{})
	go func() {
		<-ended // of its own, or because it is stopped below
		close(over)
	}()
	alive := func() bool {
		select {
		case <-over:
			return false
		default:
			return true
		}
	}
	_, err := platform.Answer(ctx, at+"/", answerTime, alive, nil)
	for i, h := range want {
		if err != nil {
			out[i] = Answer{Error: err.Error(), Body: log.String()}
			continue
		}
		out[i] = ask(ctx, at+h.Path)
	}
	stop()
	<-over
	return out, nil
}

func ask(ctx context.Context, url string) Answer {
	client := &http.Client{
		Timeout:       answerTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{DisableKeepAlives: true}, // no proxy: it is this machine
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return Answer{Error: err.Error()}
	}
	res, err := client.Do(req)
	if err != nil {
		return Answer{Error: err.Error()}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxContent))
	if err != nil {
		return Answer{Error: err.Error()}
	}
	return Answer{Status: res.StatusCode, Body: string(b)}
}
