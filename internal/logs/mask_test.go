package logs

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestMaskable(t *testing.T) {
	for value, want := range map[string]bool{
		"hunter2":              false, // short
		"hunter22":             true,
		"12345678901":          false,
		"2026-11-29 10:00:00":  false,
		"Production":           false,
		"production\n":         false,
		"--------------------": false,
		"=-=-=-=-=-=-":         false,
		"abcabcabc":            true,
		"pässwörd":             true,
		"":                     false,
	} {
		if Maskable(value) != want {
			t.Errorf("Maskable(%q) = %v", value, !want)
		}
	}
}

func TestMask(t *testing.T) {
	m := NewMasker("s3cret/va+lue", "production", "postgres://user:p%40ssw0rd!@db:5432/app", "overlapping", "lapping-more",
		"first line of it\nsecond line of it\n", "an-inner-secret-outer", "inner-secret")
	for in, want := range map[string]string{
		"nothing here":                      "nothing here",
		"a s3cret/va+lue b":                 "a [masked] b",
		"s3cret/va+lues3cret/va+lue":        "[masked]",
		"s3cret/va+lu":                      "[masked]", // the end of the text is no way out
		"s3cr":                              "s3cr",
		"s3cret/va+lu. production":          "s3cret/va+lu. production",
		"an-inner-secret-outside":           "an-[masked]-outside",
		"overlapping-more":                  "[masked]",
		"overlapping-mode":                  "[masked]-mode",
		"p@ssw0rd! or p%40ssw0rd!":          "[masked] or [masked]",
		"log: second line of it":            "log: [masked]",
		"first line of it\nsec. line":       "[masked]\nsec. line",
		"first line of it\nsecond line of":  "[masked]",
		"https://x:s3cret%2fva%2Blue@host/": "https://x:s3cret%2fva%2Blue@host/", // no program mixes the case
		"https://x:s3cret%2fva%2blue@host/": "https://x:[masked]@host/",
	} {
		if got := m.String(in); got != want {
			t.Errorf("%q became %q, not %q", in, got, want)
		}
	}
	var none *Masker
	if got := none.String("s3cret/va+lue"); got != "s3cret/va+lue" {
		t.Errorf("no masker made %q", got)
	}
}

func TestMaskForms(t *testing.T) {
	long := make([]byte, 3000)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range long {
		long[i] = byte(32 + rng.IntN(95))
	}
	for _, secret := range []string{"a/b+c d?e&f%", "12345678", "0123456x", "tab\tquote\"back\\slash\nline<&>", "ünïcödé→", string(long), "\x00\xff\xfe\xfdabcdefg"} {
		m := NewMasker(secret)
		if !Maskable(secret) {
			if got := m.String(secret); got != secret {
				t.Errorf("%q became %q", secret, got)
			}
			continue
		}
		quoted, _ := json.Marshal(secret)
		printed := []string{
			secret, url.QueryEscape(secret), url.PathEscape(secret), strings.ToLower(url.QueryEscape(strings.ToLower(secret))),
			string(quoted[1 : len(quoted)-1]), strings.TrimPrefix(url.UserPassword("", secret).String(), ":"),
		}
		printed = slices.DeleteFunc(printed, func(p string) bool { return strings.EqualFold(p, secret) && p != secret })
		for i, p := range printed {
			if i == 3 && secret != strings.ToLower(secret) {
				continue
			}
			if got, want := m.String("<"+p+">"), "<"+Mask+">"; got != want {
				t.Errorf("%.40q became %.80q", p, got)
			}
		}
		for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			for _, around := range []string{"", "x", "xy", "xyz", "user:"} {
				p := e.EncodeToString([]byte(around + secret + around))
				got := m.String(p)
				if !strings.Contains(got, Mask) || len(got) > len(Mask)+2*(2*len(around)+6) {
					t.Errorf("%.40q, %.40q in base64, became %.80q", around+secret+around, p, got)
				}
			}
		}
	}
}

// union is what the masker promises, in the simplest way.
func union(patterns []string, text string) string {
	secret := make([]bool, len(text))
	for _, p := range patterns {
		for i := 0; i+len(p) <= len(text); i++ {
			if text[i:i+len(p)] == p {
				for k := range len(p) {
					secret[i+k] = true
				}
			}
		}
	}
	// What is left at the end: the longest end of the text that is the beginning of a pattern.
	for n := min(len(text), maxPattern); n >= minPattern; n-- {
		end := text[len(text)-n:]
		if slices.ContainsFunc(patterns, func(p string) bool { return len(p) > n && strings.HasPrefix(p, end) }) {
			for i := len(text) - n; i < len(text); i++ {
				secret[i] = true
			}
			break
		}
	}
	var b strings.Builder
	for i := range len(text) {
		if !secret[i] {
			b.WriteByte(text[i])
		} else if i == 0 || !secret[i-1] {
			b.WriteString(Mask)
		}
	}
	return b.String()
}

// cutUp writes text to w in parts of random length, and ends the stream.
func cutUp(t *testing.T, text string, seed uint64, w interface {
	Write([]byte) (int, error)
	Close() error
}) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 7))
	for rest := []byte(text); len(rest) > 0; {
		n := min(1+rng.IntN(1+rng.IntN(40)), len(rest))
		p := bytes.Clone(rest[:n])
		if got, err := w.Write(p); got != n || err != nil {
			t.Fatalf("wrote %d of %d bytes: %v", got, n, err)
		}
		clear(p) // a Writer keeps nothing of what it was given
		rest = rest[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func checkMask(t *testing.T, secrets []string, text string, seed uint64) {
	t.Helper()
	m := NewMasker(secrets...)
	want := union(patterns(secrets), text)
	if got := m.String(text); got != want {
		t.Fatalf("secrets %q: %q became %q, not %q", secrets, text, got, want)
	}
	var b bytes.Buffer
	cutUp(t, text, seed, m.Writer(&b))
	if b.String() != want {
		t.Fatalf("secrets %q, seed %d: %q in parts became %q, not %q", secrets, seed, text, b.String(), want)
	}
	// One secret that never touches another: then it is what anybody would have written.
	if p := patterns(secrets[:1]); len(p) == 1 && !strings.Contains(text, p[0]+p[0][:1]) && !overlaps(p[0]) && p[0] == secrets[0] {
		got := NewMasker(secrets[0]).String(text + "\x00\x00\x00")
		if plain := strings.ReplaceAll(text+"\x00\x00\x00", p[0], Mask); got != plain && !strings.Contains(p[0], "\x00") {
			t.Fatalf("secret %q: %q became %q, not %q", p[0], text, got, plain)
		}
	}
}

// overlaps tells whether the end of a text is also its beginning.
func overlaps(p string) bool {
	for n := 1; n < len(p); n++ {
		if p[:n] == p[len(p)-n:] {
			return true
		}
	}
	return false
}

// TestMaskAgainstUnion takes secrets and texts of two or three letters, so that everything overlaps everything.
func TestMaskAgainstUnion(t *testing.T) {
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 1))
		word := func(n int) string {
			b := make([]byte, n)
			for i := range b {
				b[i] = "abc"[rng.IntN(2+i%2)]
			}
			return string(b)
		}
		secrets := make([]string, 1+rng.IntN(6))
		for i := range secrets {
			secrets[i] = word(8+rng.IntN(6)) + "c"
			if rng.IntN(20) == 0 {
				secrets[i] = word(700)
			}
			if outer := secrets[rng.IntN(i+1)]; rng.IntN(3) == 0 && len(outer) > 10 {
				secrets[i] = outer[1:10] // one in another
			}
		}
		var text strings.Builder
		for range 20 {
			s := secrets[rng.IntN(len(secrets))]
			switch rng.IntN(4) {
			case 0:
				text.WriteString(s)
			case 1:
				text.WriteString(s[:rng.IntN(len(s))])
			case 2:
				text.WriteString(s[rng.IntN(len(s)):])
			default:
				text.WriteString(word(rng.IntN(30)))
			}
		}
		checkMask(t, secrets, text.String(), seed)
	}
}

func FuzzMask(f *testing.F) {
	f.Add("abcdefgh", "cdefghij", "xabcdefghijx", uint64(1))
	f.Add("tok_0123456789", "line one\nline two", "tok_0123456789 line two dG9rXzAxMjM0NTY3ODk=", uint64(2))
	f.Fuzz(func(t *testing.T, one, two, text string, seed uint64) {
		if len(one)+len(two)+len(text) > 5000 {
			return
		}
		checkMask(t, []string{one, two}, text+one[:len(one)/2]+two+text+one, seed)
	})
}

// TestMaskHoldsLittle: a line is passed on at once, but for what may be a secret's beginning.
func TestMaskHoldsLittle(t *testing.T) {
	var b bytes.Buffer
	w := NewMasker("hello-secret-world", strings.Repeat("long secret 12", 1000)).Writer(&b)
	fmt.Fprint(w, "a line\n")
	if b.String() != "a line\n" {
		t.Errorf("%q came through", b.String())
	}
	fmt.Fprint(w, "say hello-secr")
	if b.String() != "a line\nsay " {
		t.Errorf("%q came through", b.String())
	}
	fmt.Fprint(w, "ets\n")
	if b.String() != "a line\nsay hello-secrets\n" {
		t.Errorf("%q came through", b.String())
	}
	b.Reset()
	n := 0
	for range 2000 {
		n += 14
		fmt.Fprint(w, "long secret 13")
		if held := n - b.Len(); held >= maxPattern {
			t.Fatalf("%d bytes are held back", held)
		}
	}
}

func BenchmarkMask(b *testing.B) {
	line := "2026-11-29T23:50:00Z \x1b[32mINFO\x1b[0m  [npm] added 1423 packages, and audited 1424 packages in 23s; https://registry.npmjs.org/left-pad/-/left-pad-1.3.0.tgz\n"
	text := []byte(strings.Repeat(line, 32<<10/len(line)))
	secret := func(i int) string {
		return fmt.Sprintf("%x-%s", i*2654435761, base64.StdEncoding.EncodeToString(fmt.Append(nil, i, "key", i*i*i)))
	}
	for _, n := range []int{0, 1, 20, 512} {
		secrets := make([]string, n)
		for i := range secrets {
			secrets[i] = secret(i)
			if i%3 == 2 {
				secrets[i] = "https://user:" + secrets[i] + "@example.com/" // begins like much of the text
			}
		}
		b.Run(fmt.Sprintf("secrets=%d", n), func(b *testing.B) {
			var sink bytes.Buffer
			w := NewMasker(secrets...).Writer(&sink)
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				sink.Reset()
				w.Write(text)
			}
		})
	}
	b.Run("make=512x2KiB", func(b *testing.B) {
		secrets := make([]string, 512)
		for i := range secrets {
			for len(secrets[i]) < 2000 {
				secrets[i] += secret(i*7919 + len(secrets[i]))
			}
		}
		for b.Loop() {
			m := NewMasker(secrets...)
			b.ReportMetric(float64(len(m.a.nodes)*13>>20), "MiB")
		}
	})
}
