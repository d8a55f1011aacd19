package modload

import (
	"bytes"
	"iter"
	"strings"
	"unicode/utf8"
)

// A confLine is one line of kudev.conf that says something: a setting, or why it is none.
type confLine struct {
	number      int // from 1; of a continued line, its first
	name, value string
	problem     string
}

// parseConf yields the lines of kudev.conf. A line is a name, an equals sign or blanks, and a value:
//
//	module_root = /run/booted-system:/run/current-system
//	forbid floppy usb:v1234*
//
// # begins a comment at the start of a line or after a blank. A value may stand in double quotes, then every character
// counts. A backslash at the end of a line continues it.
func parseConf(data []byte) iter.Seq[confLine] {
	return func(yield func(confLine) bool) {
		number := 0
		for len(data) > 0 {
			number++
			line := confLine{number: number}
			var text strings.Builder
			for {
				row, rest, more := bytes.Cut(data, []byte("\n"))
				data = rest
				joined, continued := bytes.CutSuffix(bytes.TrimSuffix(row, []byte("\r")), []byte(`\`))
				text.Write(joined)
				if !continued || !more {
					break
				}
				number++
			}
			if line.read(text.String()) && !yield(line) {
				return
			}
		}
	}
}

// read fills the line from its text and reports whether it says anything.
func (l *confLine) read(text string) bool {
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		l.problem = "not text"
		return true
	}
	text = strings.TrimSpace(text)
	if text == "" || text[0] == '#' {
		return false
	}
	end := strings.IndexAny(text, "= \t")
	if end < 0 {
		l.problem = "no value: want name = value"
		return true
	}
	l.name = text[:end]
	value := strings.TrimLeft(text[end:], " \t")
	value = strings.TrimLeft(strings.TrimPrefix(value, "="), " \t")
	if l.name == "" {
		l.problem = "no name: want name = value"
		return true
	}
	if quoted, ok := strings.CutPrefix(value, `"`); ok {
		inner, after, closed := strings.Cut(quoted, `"`)
		after = strings.TrimSpace(after)
		if !closed || after != "" && after[0] != '#' {
			l.problem = "quote not closed at the end of the value"
			return true
		}
		l.value = inner
		return true
	}
	if value != "" && value[0] == '#' {
		value = ""
	}
	for i := 1; i < len(value); i++ {
		if value[i] == '#' && (value[i-1] == ' ' || value[i-1] == '\t') {
			value = value[:i]
			break
		}
	}
	l.value = strings.TrimRight(value, " \t")
	return true
}

// splitCommandLine yields name and value of each word of a kernel command line. Words end at blanks that are not in
// double quotes; the quotes around a whole word or a whole value are dropped; everything behind -- is init's.
// Kernel: lib/cmdline.c, next_arg.
func splitCommandLine(text string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for {
			text = strings.TrimLeft(text, " \t\n")
			if text == "" {
				return
			}
			quoted, end := false, len(text)
			for i := 0; i < len(text); i++ {
				if text[i] == '"' {
					quoted = !quoted
				} else if !quoted && (text[i] == ' ' || text[i] == '\t' || text[i] == '\n') {
					end = i
					break
				}
			}
			word := text[:end]
			text = text[end:]
			if word == "--" {
				return
			}
			if word[0] == '"' {
				word = strings.TrimSuffix(word[1:], `"`)
			}
			name, value, _ := strings.Cut(word, "=")
			if strings.HasPrefix(value, `"`) {
				value = strings.TrimSuffix(value[1:], `"`)
			}
			if !yield(name, value) {
				return
			}
		}
	}
}
