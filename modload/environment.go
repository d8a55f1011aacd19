package modload

import (
	"os"
	"strings"
)

// EnvironmentOptions returns the words of the variable MODPROBE_OPTIONS, which modprobe takes before those of its command line, as
// modprobe(8) has it: blanks separate, quotes of either kind hold together. An option among them that names a tree is the caller's to
// refuse: no environment moves the module root.
func EnvironmentOptions() []string { return splitOptions(os.Getenv(environmentOptions)) }

const environmentOptions = "MODPROBE_OPTIONS"

// WithEnvironmentOptions returns the variable, "MODPROBE_OPTIONS=…", with words behind those that are in it: for a modprobe that this one's
// install and remove commands call.
func WithEnvironmentOptions(words ...string) string {
	all := append(EnvironmentOptions(), words...)
	for i, w := range all {
		if w == "" || strings.ContainsAny(w, " \"'") {
			all[i] = `"` + strings.ReplaceAll(w, `"`, `"'"'"`) + `"`
		}
	}
	return environmentOptions + "=" + strings.Join(all, " ")
}

func splitOptions(text string) (words []string) {
	var word strings.Builder
	var quote byte
	started := false
	for i := range len(text) {
		c := text[i]
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteByte(c)
		case c == '"' || c == '\'':
			quote, started = c, true
		case c == ' ':
			if started {
				words = append(words, word.String())
			}
			word.Reset()
			started = false
		default:
			word.WriteByte(c)
			started = true
		}
	}
	if started {
		words = append(words, word.String())
	}
	return words
}
