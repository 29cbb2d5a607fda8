package lifecycle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/builder/cnb"
)

// CertFile is where the lifecycle image keeps the certificate authorities that its phases trust.
const CertFile = "/etc/ssl/certs/ca-certificates.crt"

// Image is the lifecycle image for linux on the architecture: what platforms run the phases in that need no builder,
// and take /cnb/lifecycle from, which is its last layer. Below it there is what a static binary needs: users, /tmp,
// and roots, certificates in PEM form.
func (d Distribution) Image(arch string, roots []byte) (v1.Image, error) {
	if err := d.Check(); err != nil {
		return nil, err
	}
	img, err := d.image(arch, roots)
	if err != nil {
		return nil, fmt.Errorf("make the lifecycle image: %w", err)
	}
	return img, nil
}

func (d Distribution) image(arch string, roots []byte) (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, l := range []struct {
		what  string
		write func(io.Writer) error
	}{
		{"Lifecycle image: users, temporary directory, certificate authorities", func(w io.Writer) error { return writeBase(w, roots) }},
		{"Lifecycle image: lifecycle " + d.Version, d.writeLayer},
	} {
		layer, err := makeLayer(l.write)
		if err != nil {
			return nil, err
		}
		history := v1.History{Created: v1.Time{Time: fileTime()}, CreatedBy: l.what}
		if img, err = mutate.Append(img, mutate.Addendum{Layer: layer, History: history, MediaType: types.OCILayer}); err != nil {
			return nil, err
		}
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture, cf.Created = "linux", arch, v1.Time{Time: fileTime()}
	if arch == "arm64" {
		cf.Variant = "v8"
	}
	labels, err := d.labels()
	if err != nil {
		return nil, err
	}
	// No entrypoint: platforms name the phase.
	cf.Config = v1.Config{
		User: "0", WorkingDir: "/layers", Labels: labels,
		Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SSL_CERT_FILE=" + CertFile},
	}
	return mutate.ConfigFile(img, cf)
}

// labels tell platforms which lifecycle this is; the builder's label is the oldest form of it.
func (d Distribution) labels() (map[string]string, error) {
	b := d.Describe()
	apis, err1 := json.Marshal(b.APIs)
	builder, err2 := json.Marshal(map[string]any{"lifecycle": map[string]string{"version": b.Version}, "api": b.API})
	return map[string]string{
		cnb.LabelLifecycleVersion: b.Version, cnb.LabelLifecycleAPIs: string(apis), cnb.LabelBuilderMetadata: string(builder),
	}, errors.Join(err1, err2)
}

func (d Distribution) writeLayer(w io.Writer) error { return d.writeTar(w, "cnb/") }

func writeBase(w io.Writer, roots []byte) error {
	tw := tar.NewWriter(w)
	for _, e := range []struct {
		name string
		mode int64
		data []byte // nil is a directory
	}{
		{"etc", 0o755, nil},
		{"etc/group", 0o644, []byte("root:x:0:\nnogroup:x:65534:\n")},
		{"etc/nsswitch.conf", 0o644, []byte("hosts: files dns\n")},
		{"etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n")},
		{"etc/ssl", 0o755, nil},
		{"etc/ssl/certs", 0o755, nil},
		{CertFile[1:], 0o644, roots},
		{"root", 0o700, nil},
		{"tmp", 0o1777, nil},
	} {
		var err error
		if e.data == nil {
			err = writeDir(tw, e.name, e.mode)
		} else {
			err = writeEntry(tw, e.name, file{data: e.data})
		}
		if err != nil {
			return err
		}
	}
	return tw.Close()
}

// A layer is a compressed layer in memory that knows its diffID.
type layer struct {
	v1.Layer
	diffID v1.Hash
	tar    []byte
}

func (l layer) DiffID() (v1.Hash, error) { return l.diffID, nil }

func (l layer) Uncompressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(l.tar)), nil
}

func makeLayer(write func(io.Writer) error) (v1.Layer, error) {
	var plain, packed bytes.Buffer
	if err := write(&plain); err != nil {
		return nil, err
	}
	diffID, _, err := v1.SHA256(bytes.NewReader(plain.Bytes()))
	if err != nil {
		return nil, err
	}
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(plain.Bytes()); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return layer{static.NewLayer(packed.Bytes(), types.OCILayer), diffID, plain.Bytes()}, nil
}
