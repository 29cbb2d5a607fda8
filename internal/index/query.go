package index

import (
	"slices"
	"strings"
	"unicode"
)

// A Query is what is searched for: words, all of which are in what is found, and what a buildpack is for. Each may be empty.
type Query struct {
	Text     string
	Language string // such as java or node
	Target   string // "linux/arm64"; a buildpack whose targets are not known comes behind those that have it
}

// languages are words for the same, the names of buildpacks among them.
func languages() [][]string {
	return [][]string{
		{"node", "nodejs", "node.js", "javascript", "npm", "yarn"}, {"go", "golang"}, {"java", "jvm", "maven", "gradle"},
		{"python", "pip", "poetry"}, {"ruby", "rubygems", "bundler"}, {"php", "composer"}, {"dotnet", ".net", "csharp", "c#"}, {"rust", "cargo"},
	}
}

// ofLanguage are the words that tell of a language, in lower case.
func ofLanguage(language string) []string {
	language = strings.ToLower(strings.TrimSpace(language))
	for _, all := range languages() {
		if slices.Contains(all, language) {
			return all
		}
	}
	return []string{language}
}

// says tells whether one of the words stands alone in a name, a description or the keywords: "go" is not in "mongo", and is
// in "go-build".
func says(words []string, low string, f Fact) bool {
	texts := append([]string{low, strings.ToLower(f.Name), strings.ToLower(f.Description)}, f.Keywords...)
	for _, text := range texts {
		text = strings.ToLower(text)
		for _, w := range words {
			if text == w || standsIn(text, w) {
				return true
			}
		}
	}
	return false
}

// standsIn finds a word with nothing of a word before and behind it.
func standsIn(text, word string) bool {
	for from := 0; ; {
		i := strings.Index(text[from:], word)
		if i < 0 || word == "" {
			return false
		}
		i += from
		if !inWord(text, i-1) && !inWord(text, i+len(word)) {
			return true
		}
		from = i + 1
	}
}

func inWord(text string, i int) bool {
	return i >= 0 && i < len(text) && (text[i] >= 0x80 || unicode.IsLetter(rune(text[i])) || unicode.IsDigit(rune(text[i])))
}

// runs tells whether a buildpack is for a target; known is false where nobody here knows its targets.
func (f Fact) runs(target string) (yes, known bool) {
	for _, t := range f.Targets {
		if t == target || t == "" || strings.HasPrefix(target, t+"/") || strings.HasPrefix(t, target+"/") {
			return true, true
		}
	}
	return false, len(f.Targets) > 0
}
