package builder

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/slipway-build/slipway/builder/cnb"
)

// A BuilderSpec says what a builder image is made of. Images, files and references are resolved already.
type BuilderSpec struct {
	Base   v1.Image // the build image
	Config cnb.BuilderConfig
	// Buildpacks are the buildpacks of Config.Buildpacks and what they bring along, in any order.
	Buildpacks []BuilderBuildpack
	// Lifecycle is a directory of this machine with lifecycle.toml and a folder lifecycle/, or "".
	Lifecycle string
	Describe  cnb.BuilderLifecycle // of Lifecycle; its zero value where there is none
	Creator   cnb.Creator
	// Layer turns a layer into bytes that can be read more than once.
	Layer func(ctx context.Context, l Layer) (v1.Layer, error)
}

// A BuilderBuildpack is one buildpack to put into a builder: a directory of this machine, or a layer that
// holds /cnb/buildpacks/<id>/<version> already, which may hold others too.
type BuilderBuildpack struct {
	*cnb.Descriptor
	Dir string
	// TOML is its buildpack.toml where Dir has none, because it is the directory of one target.
	TOML  []byte
	Layer v1.Layer
	// Arch is the architecture that what it was taken from is for, "" where that is for any.
	Arch string
}

// BuildpacksDir is where a builder keeps its buildpacks (platform, "Buildpacks Directory Layout").
const BuildpacksDir = "/cnb/buildpacks"

// BuildpackPath is the directory of a buildpack in a builder.
func BuildpackPath(r cnb.Ref) string { return path.Join(BuildpacksDir, r.ID.Dir(), r.Version) }

// CreateBuilder makes a builder image: the build image plus buildpacks, order and the files and labels by
// which platforms know it. The same input gives the same image.
func CreateBuilder(ctx context.Context, s BuilderSpec) (v1.Image, error) {
	cf, err := s.Base.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read the build image's config: %w", err)
	}
	uid, gid, err := CNBUser(cf.Config.Env)
	if err != nil {
		return nil, fmt.Errorf("build image %s: %w", s.Config.BuildImage, err)
	}
	slices.SortFunc(s.Buildpacks, func(a, b BuilderBuildpack) int { return strings.Compare(a.Ref.String(), b.Ref.String()) })
	order, system, err := s.resolve()
	if err != nil {
		return nil, err
	}
	m := builderMaker{BuilderSpec: s, uid: uid, gid: gid, order: order, system: system, added: map[v1.Hash]bool{}}
	if err := m.layers(ctx); err != nil {
		return nil, err
	}
	img, err := mutate.Append(s.Base, m.addenda...)
	if err != nil {
		return nil, fmt.Errorf("add layers to the build image: %w", err)
	}
	return m.configure(img)
}

// CNBUser is the user and group that CNB_USER_ID and CNB_GROUP_ID of a build image's environment name
// (platform, "Build Image").
func CNBUser(env []string) (uid, gid int, err error) {
	if uid, err = envID(env, "CNB_USER_ID"); err == nil {
		gid, err = envID(env, "CNB_GROUP_ID")
	}
	return uid, gid, err
}

func envID(env []string, name string) (int, error) {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			n, err := strconv.Atoi(v)
			if err != nil || n <= 0 {
				return 0, fmt.Errorf("%s=%s is not the number of an ordinary user or group", name, v)
			}
			return n, nil
		}
	}
	return 0, fmt.Errorf("%s is not set in its environment, so it is not a build image", name)
}

// resolve gives every reference of the order, of composite buildpacks and of system buildpacks a version and
// checks that it is there.
func (s BuilderSpec) resolve() (cnb.Order, cnb.System, error) {
	ds := make([]*cnb.Descriptor, len(s.Buildpacks))
	for i, b := range s.Buildpacks {
		if i > 0 && b.Ref == s.Buildpacks[i-1].Ref {
			return nil, cnb.System{}, fmt.Errorf("buildpack %s is given twice", b.Ref)
		}
		ds[i] = b.Descriptor
	}
	c := MapCatalog(ds)
	for _, d := range ds {
		if _, err := resolveOrder(c, d.Order, "buildpack "+d.Ref.String()); err != nil {
			return nil, cnb.System{}, err
		}
	}
	order, err := resolveOrder(c, s.Config.Order, "order")
	if err != nil {
		return nil, cnb.System{}, err
	}
	pre, err1 := resolveElements(c, s.Config.System.Pre, "system.pre")
	post, err2 := resolveElements(c, s.Config.System.Post, "system.post")
	if err1 != nil {
		err2 = err1
	}
	return order, cnb.System{Pre: pre, Post: post}, err2
}

func resolveOrder(c Catalog, o cnb.Order, where string) (cnb.Order, error) {
	out := make(cnb.Order, 0, len(o))
	for _, g := range o {
		es, err := resolveElements(c, g.Elements, where)
		if err != nil {
			return nil, err
		}
		out = append(out, cnb.Group{Elements: es})
	}
	return out, nil
}

func resolveElements(c Catalog, es []cnb.GroupElement, where string) ([]cnb.GroupElement, error) {
	out := make([]cnb.GroupElement, 0, len(es))
	for _, e := range es {
		d, err := c.Buildpack(e.Ref)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
		e.Ref = d.Ref
		out = append(out, e)
	}
	return out, nil
}

// builderMaker gathers the layers of one builder.
type builderMaker struct {
	BuilderSpec
	uid, gid int
	order    cnb.Order
	system   cnb.System
	addenda  []mutate.Addendum
	label    cnb.BuildpackLayersLabel
	added    map[v1.Hash]bool // layers of buildpacks
}

func (m *builderMaker) layers(ctx context.Context) error {
	if err := m.add(ctx, Layer{ID: "directories", CreatedBy: "Builder: directories", parts: m.directories()}); err != nil {
		return err
	}
	if m.Lifecycle != "" {
		parts := []layerPart{rootDirPart("/cnb"), treePart{anchor: filepath.Join(m.Lifecycle, "lifecycle"), name: "/cnb/lifecycle"},
			filePart{name: "/cnb/lifecycle/lifecycle.toml", host: filepath.Join(m.Lifecycle, "lifecycle.toml")}}
		if err := m.add(ctx, Layer{ID: "lifecycle", CreatedBy: "Builder: lifecycle " + m.Describe.Version, parts: parts}); err != nil {
			return err
		}
	}
	m.label = cnb.BuildpackLayersLabel{}
	for _, b := range m.Buildpacks {
		if err := m.buildpack(ctx, b); err != nil {
			return err
		}
	}
	files, err := m.files()
	if err != nil {
		return err
	}
	return m.add(ctx, Layer{ID: "config", CreatedBy: "Builder: order, run images, environment", parts: files})
}

func (m *builderMaker) directories() []layerPart {
	var parts []layerPart
	for _, d := range []string{"/cnb", "/cnb/buildpacks", "/platform", "/platform/env"} {
		parts = append(parts, rootDirPart(d))
	}
	for _, d := range []string{"/layers", "/workspace"} {
		p := rootDirPart(d)
		p.hdr.Uid, p.hdr.Gid = m.uid, m.gid
		parts = append(parts, p)
	}
	return parts
}

func (m *builderMaker) buildpack(ctx context.Context, b BuilderBuildpack) error {
	l, created := b.Layer, "Builder: buildpack "+b.Ref.String()
	if l == nil {
		at := BuildpackPath(b.Ref)
		parts := append([]layerPart{rootDirPart("/cnb"), rootDirPart(BuildpacksDir), rootDirPart(path.Dir(at))}, b.parts(at)...)
		var err error
		if l, err = m.Layer(ctx, Layer{ID: b.Ref.String(), CreatedBy: created, parts: parts}); err != nil {
			return fmt.Errorf("buildpack %s: %w", b.Ref, err)
		}
	}
	diffID, err := l.DiffID()
	if err != nil {
		return fmt.Errorf("buildpack %s: %w", b.Ref, err)
	}
	m.list(b, diffID)
	if !m.added[diffID] { // a layer of a package may hold more than one buildpack
		m.added[diffID] = true
		m.append(l, created)
	}
	return nil
}

// parts are the files of a buildpack that is a directory.
func (b BuilderBuildpack) parts(at string) []layerPart {
	parts := []layerPart{treePart{anchor: b.Dir, name: at}}
	if b.TOML != nil {
		parts = append(parts, rootFilePart(at+"/buildpack.toml", b.TOML))
	}
	return parts
}

// list notes in the label which layer has a buildpack.
func (m *builderMaker) list(b BuilderBuildpack, diffID v1.Hash) {
	if m.label[b.ID] == nil {
		m.label[b.ID] = map[string]cnb.BuildpackLayerInfo{}
	}
	m.label[b.ID][b.Version] = b.LayerInfo(diffID.String())
}

func (m *builderMaker) add(ctx context.Context, l Layer) error {
	layer, err := m.Layer(ctx, l)
	if err != nil {
		return fmt.Errorf("builder layer %s: %w", l.ID, err)
	}
	m.append(layer, l.CreatedBy)
	return nil
}

func (m *builderMaker) append(l v1.Layer, created string) {
	m.addenda = append(m.addenda, mutate.Addendum{Layer: l, History: v1.History{CreatedBy: created, Created: v1.Time{Time: LayerTime()}}})
}

// files is /cnb/order.toml and its neighbours.
func (m *builderMaker) files() ([]layerPart, error) {
	order, err1 := cnb.EncodeOrder(m.order, nil)
	run, err2 := cnb.EncodeRun(m.Config.RunImages)
	stack, err3 := cnb.EncodeStack(m.Config.RunImages[0])
	system, err4 := cnb.EncodeSystem(m.system)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, fmt.Errorf("encode the builder's files: %w", err)
	}
	parts := []layerPart{rootDirPart("/cnb"), rootFilePart("/cnb/order.toml", order), rootFilePart("/cnb/run.toml", run), rootFilePart("/cnb/stack.toml", stack)}
	if len(m.system.Pre)+len(m.system.Post) > 0 {
		parts = append(parts, rootFilePart("/cnb/system.toml", system))
	}
	if len(m.Config.BuildEnv) > 0 {
		parts = append(parts, rootDirPart("/cnb/build-config"), rootDirPart("/cnb/build-config/env"))
	}
	for _, e := range m.Config.BuildEnv {
		name := "/cnb/build-config/env/" + e.Name
		if e.Suffix != "" {
			name += "." + e.Suffix
		}
		parts = append(parts, rootFilePart(name, []byte(e.Value)))
		if e.Delim != "" {
			parts = append(parts, rootFilePart("/cnb/build-config/env/"+e.Name+".delim", []byte(e.Delim)))
		}
	}
	return parts, nil
}

func rootFilePart(name string, data []byte) inlinePart {
	return inlinePart{hdr: tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, data: data}
}

// configure sets labels, user and working directory.
func (m *builderMaker) configure(img v1.Image) (v1.Image, error) {
	meta := cnb.BuilderMetadata{
		Description: m.Config.Description,
		Buildpacks:  []cnb.ModuleInfo{},
		Extensions:  []cnb.ModuleInfo{},
		Lifecycle:   m.Describe,
		CreatedBy:   m.Creator,
	}
	for _, b := range m.Buildpacks {
		meta.Buildpacks = append(meta.Buildpacks, b.Info())
	}
	for _, r := range m.Config.RunImages {
		meta.RunImages = append(meta.RunImages, cnb.BuilderRunImage(r))
	}
	meta.Stack.RunImage = meta.RunImages[0]
	labels := map[string]any{
		cnb.LabelBuilderMetadata: meta,
		cnb.LabelBuildpackOrder:  m.order,
		cnb.LabelBuildpackLayers: m.label,
	}
	if len(m.system.Pre)+len(m.system.Post) > 0 {
		labels[cnb.LabelBuildpackSystem] = cnb.SystemLabel{
			Pre: cnb.SystemBuildpacks{Buildpacks: m.system.Pre}, Post: cnb.SystemBuildpacks{Buildpacks: m.system.Post},
		}
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cf = cf.DeepCopy()
	cf.Created = v1.Time{Time: LayerTime()}
	cf.Config.WorkingDir = "/layers"
	cf.Config.User = fmt.Sprintf("%d:%d", m.uid, m.gid)
	if cf.Config.Labels == nil {
		cf.Config.Labels = map[string]string{}
	}
	for key, v := range labels {
		b, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("encode label %s: %w", key, err)
		}
		cf.Config.Labels[key] = string(b)
	}
	cf.Container = ""
	return mutate.ConfigFile(img, cf)
}
