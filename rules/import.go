package rules

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/modload"
)

// importInto runs an IMPORT and says whether it found anything to import.
func (s *state) importInto(t *token) bool {
	switch t.kind {
	case importFile:
		return s.importFile(t)
	case importProgram:
		return s.importProgram(t)
	case importBuiltin:
		return s.importBuiltin(t)
	case importDB:
		return s.importDB(t)
	case importCmdline:
		return s.importCmdline(t)
	}
	return s.importParent(t)
}

// failed is what an import returns whose value outgrew its buffer: the line does not match, whatever the operator is.
func failed(t *token) bool { return t.op == opNoMatch }

func (s *state) importFile(t *token) bool {
	name, ok := s.expand(&t.text, pathSize, false)
	if !ok {
		return failed(t)
	}
	text, err := s.dev.Roots().ReadFile(name)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.say(modload.LevelError, "cannot read the file to import", "file", name, "error", err)
		}
		return false
	}
	s.importLines(t, text)
	return true
}

func (s *state) importProgram(t *token) bool {
	command, ok := s.expand(&t.text, lineSize, false)
	if !ok {
		return failed(t)
	}
	out, err := s.host.Program(s.ctx, command, s.env(), s.rule.String())
	if err != nil {
		s.say(programLevel(err), "IMPORT{program} failed", "command", command, "error", err)
		return false
	}
	if len(out) >= lineSize {
		// What was cut off may be half a line.
		out = out[:lineSize-1]
		out = out[:strings.LastIndexAny(out, "\n\r")+1]
		s.say(modload.LevelWarn, "IMPORT{program} printed more than 16 KiB: the rest is not looked at", "command", command)
	}
	s.importLines(t, out)
	return true
}

// programLevel is how loud it is to be said that a program has failed: a status other than 0 is an answer, which most
// devices get from one helper or another; not to run at all, or not to end, is news.
func programLevel(err error) modload.Level {
	var program *hotplug.ProgramError
	if _, answered := hotplug.Status(err); answered || !errors.As(err, &program) {
		return modload.LevelDebug
	}
	return modload.LevelInfo
}

// importLines sets the properties of text: one KEY=value a line, the value in quotes or not. What is no such line is
// left out.
func (s *state) importLines(t *token, text string) {
	for text != "" {
		var line string
		if i := strings.IndexAny(text, "\n\r\x00"); i >= 0 {
			line, text = text[:i], text[i+1:]
		} else {
			line, text = text, ""
		}
		key, value, ok := importedProperty(line)
		if !ok {
			if trimmed := strings.Trim(line, blanks); trimmed != "" && trimmed[0] != '#' {
				s.say(modload.LevelDebug, "a line to import is no KEY=value", "line", line)
			}
			continue
		}
		s.set(key, -1, value)
	}
}

// importedProperty reads one line of what a file or program gives.
func importedProperty(line string) (key, value string, ok bool) {
	line = strings.TrimLeft(line, blanks)
	if line == "" || line[0] == '#' {
		return "", "", false
	}
	key, value, ok = strings.Cut(line, "=")
	key, value = strings.Trim(key, blanks), strings.Trim(value, blanks)
	if !ok || key == "" || value == "" {
		return "", "", false
	}
	if q := value[0]; q == '"' || q == '\'' {
		if len(value) == 1 || value[len(value)-1] != q {
			return "", "", false
		}
		value = value[1 : len(value)-1]
	}
	return key, value, true
}

// importBuiltin runs a builtin. Those that run once an event answer a second time with their first outcome.
func (s *state) importBuiltin(t *token) bool {
	if t.once >= 0 {
		if s.onceRan[t.once] {
			return s.onceOK[t.once]
		}
		s.onceRan[t.once] = true
		s.onceOK[t.once] = true
	}
	args := t.words
	if args == nil {
		line, ok := s.expand(&t.text, lineSize, false)
		if !ok {
			return failed(t)
		}
		args = splitWords(line)
	}
	if len(args) == 0 {
		return false
	}
	call := &s.call
	call.Event, call.Device, call.Args, call.Log = s.ev, s.dev, args[1:], s.host.Log()
	if err := s.host.Builtin(s.ctx, args[0], call); err != nil {
		s.say(modload.LevelDebug, "builtin failed", "builtin", args, "error", err)
		if t.once >= 0 {
			s.onceOK[t.once] = false
		}
		return false
	}
	return true
}

// importDB takes a property from the record of the device as it was before this event. What the kernel says now counts
// as if it stood there.
func (s *state) importDB(t *token) bool {
	if s.remove || t.value == "ID_RENAMING" {
		return false
	}
	value, ok := "", false
	if rec := s.dbRecord(); rec != nil {
		value, ok = rec.Get(t.value)
	}
	if !ok {
		if value, ok = s.ev.Get(t.value); !ok {
			return false
		}
		if t.value == "DEVNAME" {
			value, _ = s.get(t.value, t.slot)
		}
	}
	s.set(t.value, t.slot, value)
	return true
}

func (s *state) importCmdline(t *token) bool {
	value, ok := cmdlineValue(s.host.CommandLine(), t.value)
	if !ok {
		return false
	}
	s.set(t.value, t.slot, value)
	return true
}

// cmdlineValue returns the value of a key on the kernel's command line, "1" for one without a value. The last one with
// a value counts. '-' and '_' are the same in keys.
func cmdlineValue(line, key string) (value string, ok bool) {
	value = "1"
	for _, word := range splitWords(line) {
		name, v, has := strings.Cut(word, "=")
		if len(name) != len(key) || strings.ReplaceAll(name, "-", "_") != strings.ReplaceAll(key, "-", "_") {
			continue
		}
		ok = true
		if has {
			value = v
		}
	}
	return value, ok
}

// importParent takes the properties of the device above whose names match a glob. It fails only when there is none
// above.
func (s *state) importParent(t *token) bool {
	filter, ok := s.expand(&t.text, pathSize, false)
	if !ok {
		return failed(t)
	}
	parent := s.dev.Parent()
	if parent == nil {
		return false
	}
	take := func(key, value string) {
		if glob(filter, key, false) {
			s.set(key, -1, value)
		}
	}
	if !strings.HasPrefix(filter, "ID_") { // the kernel names no property so, and a stock rule asks for ID_SEAT at every event
		for key, value := range parent.Properties() {
			if key == "DEVNAME" && !strings.HasPrefix(value, "/") {
				value = "/dev/" + value
			}
			take(key, value)
		}
	}
	rec, err := parent.Record()
	if err != nil {
		return true
	}
	for _, p := range rec.Properties {
		take(p.Key, p.Value)
	}
	if len(rec.Links) > 0 {
		take("DEVLINKS", "/dev/"+strings.Join(rec.Links, " /dev/"))
	}
	if len(rec.Tags) > 0 {
		take("TAGS", ":"+strings.Join(rec.Tags, ":")+":")
	}
	if len(rec.CurrentTags) > 0 {
		take("CURRENT_TAGS", ":"+strings.Join(rec.CurrentTags, ":")+":")
	}
	return true
}

// set sets a property for a rule.
func (s *state) set(key string, slot int32, value string) {
	if key == "" || strings.IndexByte(key, '=') >= 0 || strings.IndexByte(value, 0) >= 0 {
		return
	}
	if slot < 0 {
		s.put(key, value, true)
	} else {
		s.putSlot(key, slot, value, true)
	}
	if s.trace != nil {
		s.did("ENV{"+key+"}", "=", value)
	}
}

// splitWords splits a command line at blanks. Quotes of both kinds hold words together, and a backslash is nothing
// special: it stays. A quote without its partner reaches to the end.
func splitWords(line string) []string {
	var words []string
	for i := skipBlanks(line, 0); i < len(line); i = skipBlanks(line, i) {
		start, quote := i, byte(0)
		plain := true
		for ; i < len(line); i++ {
			c := line[i]
			if quote != 0 {
				if c == quote {
					quote = 0
				}
				continue
			}
			if c == '"' || c == '\'' {
				quote, plain = c, false
				continue
			}
			if strings.IndexByte(blanks, c) >= 0 {
				break
			}
		}
		word := line[start:i]
		if !plain {
			word = unquote(word)
		}
		words = append(words, word)
	}
	return words
}

// unquote takes the quotes out of a word.
func unquote(word string) string {
	var out strings.Builder
	quote := byte(0)
	for i := range len(word) {
		switch c := word[i]; {
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote != 0 && c == quote:
			quote = 0
		default:
			out.WriteByte(c)
		}
	}
	return out.String()
}
