package rules

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/kudev/kudev/modload"
)

// expand resolves a template's substitutions. Its second result is false when what comes out would not fit into size
// bytes, a closing NUL included: udev then refuses the key, and so do we. With underscores, white space in substituted
// values becomes '_'; PROGRAM's output is left as it is.
func (s *state) expand(t *template, size int, underscores bool) (string, bool) {
	if t.plain {
		if len(t.text) >= size {
			s.tooLong(t.text)
			return "", false
		}
		return t.text, true
	}
	if len(t.parts) == 1 && !underscores {
		if value, ok, fits := s.single(&t.parts[0]); ok {
			if fits && len(value) < size {
				return value, true
			}
			s.tooLong(value)
			return "", false
		}
	}
	buf := s.buf[:0]
	fits := true
	for i := range t.parts {
		p := &t.parts[i]
		start := len(buf)
		if p.bad && s.hasOutput {
			break
		}
		if p.what == substText {
			buf = append(buf, p.text...)
		} else {
			var whole bool
			if buf, whole = s.substitute(buf, p); !whole {
				fits = false
			}
			if underscores && p.what != substResult {
				buf = buf[:start+underscore(buf[start:])]
			}
		}
		if len(buf) >= size {
			fits = false
		}
		if !fits {
			break
		}
	}
	s.buf = buf
	if !fits {
		s.tooLong(string(buf))
		return "", false
	}
	return string(buf), true
}

func (s *state) tooLong(value string) {
	if len(value) > 80 {
		value = value[:80] + "…"
	}
	s.say(modload.LevelWarn, "the value is too long, its key is ignored", "value", value)
}

// single gives the value of those substitutions that exist as a string already.
func (s *state) single(p *part) (value string, ok, fits bool) {
	switch p.what {
	case substEnv:
		return s.getOrGlobal(p.text, p.slot), true, true
	case substKernel:
		return s.dev.Sysname(), true, true
	case substDevpath:
		return s.dev.Devpath(), true, true
	}
	return "", false, true
}

// substitute appends what a substitution stands for. Its second result is false when that was cut off.
func (s *state) substitute(buf []byte, p *part) ([]byte, bool) {
	switch p.what {
	case substDevnode:
		if name := s.dev.Devname(); name != "" {
			buf = append(append(buf, "/dev/"...), name...)
		}
	case substAttr:
		return s.attrValue(buf, p.text)
	case substEnv:
		buf = append(buf, s.getOrGlobal(p.text, p.slot)...)
	case substKernel:
		buf = append(buf, s.dev.Sysname()...)
	case substNumber:
		buf = append(buf, s.dev.Sysnum()...)
	case substDriver:
		if s.parent != nil {
			buf = append(buf, s.parent.Driver()...)
		}
	case substDevpath:
		buf = append(buf, s.dev.Devpath()...)
	case substID:
		if s.parent != nil {
			buf = append(buf, s.parent.Sysname()...)
		}
	case substMajor:
		num, _ := s.dev.Devnum()
		buf = strconv.AppendUint(buf, uint64(num.Major), 10)
	case substMinor:
		num, _ := s.dev.Devnum()
		buf = strconv.AppendUint(buf, uint64(num.Minor), 10)
	case substResult:
		buf = append(buf, outputPart(s.output, p.index, p.plus)...)
	case substParent:
		if parent := s.dev.Parent(); parent != nil {
			buf = append(buf, parent.Devname()...)
		}
	case substName:
		switch name := s.dev.Devname(); {
		case s.res.Name != "":
			buf = append(buf, s.res.Name...)
		case name != "":
			buf = append(buf, name...)
		default:
			buf = append(buf, s.dev.Sysname()...)
		}
	case substLinks:
		for i, link := range s.links {
			if i > 0 {
				buf = append(buf, ' ')
			}
			buf = append(buf, link...)
		}
	case substRoot:
		buf = append(buf, "/dev"...)
	case substSys:
		buf = append(buf, "/sys"...)
	}
	return buf, true
}

// attrValue appends an attribute of the device, or else of the device that the last parent keys chose, with its
// trailing white space cut and what is unsafe in a name replaced.
func (s *state) attrValue(buf []byte, name string) ([]byte, bool) {
	value, ok := s.attr(s.dev, name)
	if !ok && s.parent != nil && s.parent != s.dev && !strings.HasPrefix(name, "[") {
		value, ok = s.attr(s.parent, name)
	}
	if !ok {
		return buf, true
	}
	whole := len(value) < nameSize
	if !whole {
		value = value[:nameSize-1]
	}
	return append(buf, replaceUnsafe(trimRight(value), allowInput)...), whole
}

// outputPart returns part n, from 1, of what a program printed, and with plus all that follows it, too; 0 is all.
func outputPart(output string, n int, plus bool) string {
	if n == 0 {
		return output
	}
	i := skipBlanks(output, 0)
	for range n - 1 {
		for i < len(output) && strings.IndexByte(blanks, output[i]) < 0 {
			i++
		}
		if i = skipBlanks(output, i); i == len(output) {
			return ""
		}
	}
	if plus {
		return output[i:]
	}
	return firstWord(output[i:])
}

// underscore turns each run of white space into one '_', and drops it at both ends. It works in place and returns the
// new length.
func underscore(b []byte) int {
	n, space := 0, false
	for _, c := range b {
		if isSpace(c) {
			space = n > 0
			continue
		}
		if space {
			b[n] = '_'
			n++
			space = false
		}
		b[n] = c
		n++
	}
	return n
}

// allowInput is what may stand in values that come from devices and programs, besides what may in any name.
const allowInput = "/ $%?,"

// safe says whether c may stand in the name of a node.
func safe(c byte, allow string) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' ||
		strings.IndexByte("#+-.:=@_", c) >= 0 || strings.IndexByte(allow, c) >= 0
}

// replaceUnsafe replaces with '_' what should not stand in a name: all but ASCII letters, digits, "#+-.:=@_", what is in
// allow, "\x…" and whole UTF-8 characters. Where a blank is allowed, other white space becomes one.
func replaceUnsafe(text, allow string) string {
	i := 0
	for i < len(text) && safe(text[i], allow) {
		i++
	}
	if i == len(text) {
		return text
	}
	out := []byte(text)
	for i < len(out) {
		c := out[i]
		switch {
		case safe(c, allow):
			i++
			continue
		case c == '\\' && i+1 < len(out) && out[i+1] == 'x':
			i += 2
			continue
		case c >= utf8.RuneSelf:
			if r, n := utf8.DecodeRune(out[i:]); n > 1 && isCharacter(r) {
				i += n
				continue
			}
		case isSpace(c) && strings.IndexByte(allow, ' ') >= 0:
			out[i] = ' '
			i++
			continue
		}
		out[i] = '_'
		i++
	}
	return string(out)
}

// isCharacter says whether Unicode gives r to anybody: some code points are nobody's for ever.
func isCharacter(r rune) bool { return r&0xfffe != 0xfffe && (r < 0xfdd0 || r > 0xfdef) }

// replaceInterface replaces with '_' what the kernel or its users do not take in an interface's name.
func replaceInterface(name string) string {
	out := []byte(name)
	for i, c := range out {
		if c <= ' ' || c >= 0x7f || c == ':' || c == '/' || c == '%' {
			out[i] = '_'
		}
	}
	return string(out)
}

func trimRight(s string) string {
	for len(s) > 0 && isSpace(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}
