package rules

import (
	"fmt"
	"math"
	"strings"
)

// Values that udev holds in buffers of a fixed size are refused when they outgrow them. The limits are kept: what a
// rule makes of a hostile attribute is bounded, and the same as udev's.
const (
	nameSize = 512
	pathSize = 1024
	lineSize = 16384
)

// subst is a substitution.
type subst uint8

const (
	substText subst = iota
	substDevnode
	substAttr
	substEnv
	substKernel
	substNumber
	substDriver
	substDevpath
	substID
	substMajor
	substMinor
	substResult
	substParent
	substName
	substLinks
	substRoot
	substSys
)

// substNames are the long names in the order in which udev tries them: the first that the text begins with counts.
var substNames = [...]struct {
	name string
	char byte
	what subst
}{
	{"devnode", 'N', substDevnode},
	{"tempnode", 'N', substDevnode}, // an old name
	{"attr", 's', substAttr},
	{"sysfs", 's', substAttr}, // an old name
	{"env", 'E', substEnv},
	{"kernel", 'k', substKernel},
	{"number", 'n', substNumber},
	{"driver", 'd', substDriver},
	{"devpath", 'p', substDevpath},
	{"id", 'b', substID},
	{"major", 'M', substMajor},
	{"minor", 'm', substMinor},
	{"result", 'c', substResult},
	{"parent", 'P', substParent},
	{"name", 'D', substName},
	{"links", 'L', substLinks},
	{"root", 'r', substRoot},
	{"sys", 'S', substSys},
}

// template is a value with substitutions, compiled. A value without any is plain and has no parts.
type template struct {
	plain bool
	text  string // the value of a plain template
	parts []part
}

// part is a piece of a template: text, or a substitution.
type part struct {
	what  subst
	text  string // the text, the {attribute} of $attr, the key of $env
	index int    // the N of %c{N}, 0 for all of it
	plus  bool   // %c{N+}
	bad   bool   // %c{x}, which is no part: the value ends here when a program has printed something
	slot  int32  // of the key, see Program.slots
}

// badTemplate is what is wrong with a template. What stands before it counts; the rest is dropped.
type badTemplate struct {
	offset int // in the value
	why    string
	udevAt int    // the offset that udevadm says
	udev   string // and what it says
}

const badType = "invalid substitution type"

// compileTemplate compiles value. The second result is nil when nothing is wrong with it. A '%' or '$' that begins no
// substitution stands for itself; strict reports it all the same.
func compileTemplate(value string) (template, *badTemplate) {
	if !strings.ContainsAny(value, "%$") {
		return template{plain: true, text: value}, nil
	}
	var t template
	var text strings.Builder
	var bad *badTemplate
	flush := func() {
		if text.Len() > 0 {
			t.parts = append(t.parts, part{what: substText, text: text.String()})
			text.Reset()
		}
	}
	for i := 0; i < len(value); {
		c := value[i]
		if c != '%' && c != '$' {
			text.WriteByte(c)
			i++
			continue
		}
		if i+1 < len(value) && value[i+1] == c {
			text.WriteByte(c)
			i += 2
			continue
		}
		what, length := findSubst(value[i:])
		if length == 0 {
			if bad == nil {
				bad = &badTemplate{i, fmt.Sprintf("%q begins no substitution, it is copied as it is", value[i:min(i+2, len(value))]), i, badType}
			}
			text.WriteByte(c)
			i++
			continue
		}
		p := part{what: what}
		end := i + length
		if end < len(value) && value[end] == '{' {
			n := strings.IndexByte(value[end:], '}')
			switch {
			case bad != nil:
			case n < 0:
				bad = &badTemplate{i, "'{' without '}'", i, badType}
			case n == 1:
				bad = &badTemplate{i, "nothing stands between '{' and '}'", i, badType}
			case n-1 >= pathSize:
				bad = &badTemplate{i, "too much stands between '{' and '}'", i, badType}
			}
			if n <= 1 || n-1 >= pathSize {
				flush()
				return t, bad
			}
			p.text = value[end+1 : end+n]
			end += n + 1
		}
		if why := p.check(); why != "" {
			p.bad = p.what == substResult
			if bad == nil {
				udev := "attribute value missing"
				if p.bad {
					udev = "attribute value not a valid number"
				}
				bad = &badTemplate{i, why, end, udev}
			}
			if !p.bad {
				flush()
				return t, bad
			}
		}
		flush()
		t.parts = append(t.parts, p)
		i = end
	}
	flush()
	if len(t.parts) == 0 || len(t.parts) == 1 && t.parts[0].what == substText {
		t.plain = true
		if len(t.parts) == 1 {
			t.text = t.parts[0].text
		}
		t.parts = nil
	}
	return t, bad
}

// findSubst returns the substitution that s begins with, and the length of its name, sign included.
func findSubst(s string) (subst, int) {
	for i := range substNames {
		n := &substNames[i]
		if s[0] == '$' && strings.HasPrefix(s[1:], n.name) {
			return n.what, 1 + len(n.name)
		}
		if s[0] == '%' && len(s) > 1 && s[1] == n.char {
			return n.what, 2
		}
	}
	return 0, 0
}

// check completes the part and says what is wrong with its attribute.
func (p *part) check() string {
	switch p.what {
	case substAttr, substEnv:
		if p.text == "" {
			return "the substitution needs a name in braces"
		}
	case substResult:
		if p.text == "" {
			return ""
		}
		number := p.text
		if strings.HasSuffix(number, "+") {
			p.plus = true
			number = number[:len(number)-1]
		}
		n, err := parseNumber(number)
		if err != nil || n < 0 || n > math.MaxUint32 {
			return fmt.Sprintf("%q is not the number of a part", p.text)
		}
		p.index = int(n)
	}
	return ""
}
