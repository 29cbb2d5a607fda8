package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// writeModules makes a node_modules of the given size below dir: packages with a manifest and files of text that
// compresses like source code does. The same call writes the same bytes, another seed others.
func writeModules(dir string, size int, seed uint64) error {
	r := rand.New(rand.NewPCG(seed, 0))
	words := vocabulary(r)
	for pkg := 0; size > 0; pkg++ {
		at := filepath.Join(dir, "node_modules", fmt.Sprintf("package-%03d", pkg), "lib")
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		manifest := fmt.Sprintf("{\n  \"name\": \"package-%03d\",\n  \"version\": \"1.%d.0\"\n}\n", pkg, pkg%9)
		if err := os.WriteFile(filepath.Join(filepath.Dir(at), "package.json"), []byte(manifest), 0o644); err != nil {
			return err
		}
		for file := 0; file < 40 && size > 0; file++ {
			// Most files are small, a few are large, as in the real ones.
			n := 500 + r.IntN(8000)
			if r.IntN(20) == 0 {
				n += r.IntN(250_000)
			}
			text := source(r, words, n)
			size -= len(text)
			if err := os.WriteFile(filepath.Join(at, fmt.Sprintf("file-%02d.js", file)), []byte(text), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

func vocabulary(r *rand.Rand) []string {
	words := []string{"function", "return", "const", "module.exports", "require", "this", "=>", "if", "else", "undefined"}
	for range 3000 {
		b := make([]byte, 3+r.IntN(9))
		for i := range b {
			b[i] = byte('a' + r.IntN(26))
		}
		words = append(words, string(b))
	}
	return words
}

// source is about n bytes of words, the first of the vocabulary far more often than the last.
func source(r *rand.Rand, words []string, n int) string {
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(strings.Repeat("  ", r.IntN(4)))
		for range 2 + r.IntN(8) {
			f := r.Float64()
			b.WriteString(words[int(f*f*f*float64(len(words)))])
			b.WriteByte(" (.,;"[r.IntN(5)])
		}
		b.WriteByte('\n')
	}
	return b.String()
}
