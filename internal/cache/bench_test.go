package cache_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/cache"
)

// BenchmarkReplaceUnchanged writes a cache of 20 layers of 4 MiB again: with nothing changed, and with the metadata alone.
func BenchmarkReplaceUnchanged(b *testing.B) {
	var cs []*content
	for i := range 20 {
		cs = append(cs, contentOf(strings.Repeat(fmt.Sprintf("%4d", i), 1<<20)))
	}
	s := serve(b)
	volume, img := openVolume(b, b.TempDir()), openImage(b, s.addr+"/cache", cache.ImageOptions{})
	for _, c := range []cache.Cache{volume, img} {
		replace(b, c, metadata(cs...), from(b, cs...))
	}
	b.Run("volume", func(b *testing.B) {
		for b.Loop() {
			replace(b, volume, metadata(cs...), from(b))
		}
	})
	b.Run("volume/metadata", func(b *testing.B) { // layers are linked
		md := metadata(cs...)
		for i := 0; b.Loop(); i++ {
			md.Buildpacks[0].Version = fmt.Sprint(i)
			replace(b, volume, md, from(b))
		}
	})
	b.Run("image", func(b *testing.B) {
		for b.Loop() {
			replace(b, img, metadata(cs...), from(b))
		}
	})
}
