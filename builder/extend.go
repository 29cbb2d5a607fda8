package builder

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/builder/cnb"
)

// BaseNeeds is what has to be found out about base images before an extender runs (platform, "restorer").
type BaseNeeds struct {
	Build bool // manifest and config of the build image, for the extender
	Run   bool // manifest and config of the run image, for the extender: extensions have instructions for it
	Look  bool // the run image has to be looked at, because its target is not known: an extension named it
}

// NeededBases tells what of the base images is needed. buildImage is what the platform gave, "" for nothing.
func NeededBases(platformAPI cnb.API, group cnb.Group, a cnb.Analyzed, buildImage string) BaseNeeds {
	if !platformAPI.AtLeast(0, 10) {
		return BaseNeeds{}
	}
	needs := BaseNeeds{Build: buildImage != ""}
	if a.RunImage == nil {
		return needs
	}
	needs.Run = a.RunImage.Extend && platformAPI.AtLeast(0, 12)
	extensions := slices.ContainsFunc(group.Elements, func(e cnb.GroupElement) bool { return e.Extension })
	needs.Look = needs.Run || extensions && (a.RunImage.Target == nil || a.RunImage.Target.OS == "")
	return needs
}

// WithRunImage is a with what a look at the run image tells: reference is its exact name.
func WithRunImage(platformAPI cnb.API, a cnb.Analyzed, reference string, img v1.Image) (cnb.Analyzed, error) {
	var run cnb.RunImage
	if a.RunImage != nil {
		run = *a.RunImage
	}
	run.Reference, run.Target = reference, nil
	if platformAPI.AtLeast(0, 12) {
		t, err := ImageTarget(img, nil)
		if err != nil {
			return a, inPhase("restore", fmt.Errorf("run image %s: %w", run.Image, err))
		}
		run.Target = &t
	}
	a.RunImage = &run
	return a, nil
}

// An ExtendedLayer is a layer that an extender put on the run image. It is part of the app image, below the
// buildpacks' layers.
type ExtendedLayer struct {
	Index     int // in the extended run image
	CreatedBy string
	Open      func() (io.ReadCloser, error) // its tar; the reader fails where the contents are not what they should be
}

// createdByExtension is in the history of an extended layer, with the extension's id behind it.
const createdByExtension = ", Created by extension: "

func (l ExtendedLayer) id() string {
	from := "from extensions"
	if n := strings.LastIndex(l.CreatedBy, createdByExtension); n >= 0 {
		from = l.CreatedBy[n+len(createdByExtension):]
	}
	return fmt.Sprintf("%s:extended-layer-%d", from, l.Index)
}

// planExtended puts the layers of the extended run image first.
func (e *exporter) planExtended() {
	for _, l := range e.Extended {
		job := e.newJob(Layer{ID: l.id(), CreatedBy: l.CreatedBy, parts: []layerPart{tarPart{l.Open}}})
		job.forImage = true
		e.image = append(e.image, job)
	}
}

// tarPart is the entries of a tar that somebody else made, as they are but for times and names of users. Unlike
// the trees of a build it may hold whiteouts, devices and setuid files: it is what a Dockerfile did to the run image.
type tarPart struct {
	open func() (io.ReadCloser, error)
}

func (p tarPart) write(ctx context.Context, t *layerWriter) (err error) {
	rc, err := p.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	for tr := tar.NewReader(rc); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		h.Uname, h.Gname = "", ""
		size := int64(0)
		if h.Typeflag == tar.TypeReg {
			size = h.Size
		}
		if err := t.header(h); err != nil {
			return err
		}
		if err := t.copy(ctx, tr, h.Name, size); err != nil {
			return err
		}
	}
	_, err = io.Copy(io.Discard, rc) // to the end, where the contents are checked
	return err
}
