package rules

import (
	"bytes"
	"fmt"
	"strings"
)

// logicalLine is one rule as text: one physical line, or several that end in a backslash, joined.
type logicalLine struct {
	text   string
	last   int // the last physical line
	pieces []piece
}

// piece says where a part of a logical line comes from.
type piece struct {
	offset int // in the logical line
	line   int // physical, from 1
	column int // of its first byte, from 1
}

// position returns the physical line and column of an offset in the logical line.
func (l *logicalLine) position(offset int) (line, column int) {
	at := l.pieces[0]
	for _, p := range l.pieces[1:] {
		if p.offset > offset {
			break
		}
		at = p
	}
	return at.line, at.column + offset - at.offset
}

// splitLines cuts a file into its rules' lines. Comments are left out, those between continued lines included.
// A physical line of 16 KiB ends the file, since nothing can be known of what follows: udev does not read on. Lines
// that are continued until they are as long are lost alone.
func splitLines(data []byte, report func(Problem)) []logicalLine {
	problem := func(line int, udev, message string) {
		report(Problem{Line: line, Rule: line, Severity: Error, Message: message, Udev: udev})
	}
	var lines []logicalLine
	var current *logicalLine // while it is continued
	tooLong := false
	number := 0
	for len(data) > 0 {
		raw, rest := cutLine(data)
		data = rest
		number++
		if len(raw) >= lineSize {
			problem(number, LineTooLong, fmt.Sprintf("the line has %d bytes or more: it and all that follows in the file are ignored", lineSize))
			return lines
		}
		text := bytes.TrimLeft(raw, " \t\n\r")
		column := len(raw) - len(text) + 1
		if len(text) > 0 && text[0] == '#' {
			continue
		}
		if current == nil {
			current = &logicalLine{}
		}
		var more bool
		if tooLong || len(current.text)+len(text) >= lineSize {
			tooLong = true
			more = len(text) > 0 && text[len(text)-1] == '\\'
		} else {
			current.pieces = append(current.pieces, piece{len(current.text), number, column})
			current.text += string(text)
			// It is the joined line that must not end in a backslash: one that ends in two is continued by an empty one.
			current.text, more = strings.CutSuffix(current.text, `\`)
		}
		if more {
			continue
		}
		switch {
		case tooLong:
			problem(number, "Line is too long, ignored.", fmt.Sprintf("the rule has %d bytes or more: it is ignored", lineSize))
		case current.text != "":
			current.last = number
			lines = append(lines, *current)
		}
		current, tooLong = nil, false
	}
	if current != nil {
		problem(number, "Unexpected EOF after line continuation, line ignored.", "the file ends in a continued line: it is ignored")
	}
	return lines
}

// LineTooLong is what udevadm verify says of a file that has a line of 16 KiB: the Udev of that problem.
const LineTooLong = "No buffer space available"

// cutLine returns the first physical line of data and what follows it. A line ends at "\n", "\r" or NUL, or at any two
// different ones of them.
func cutLine(data []byte) (line, rest []byte) {
	end := bytes.IndexAny(data, "\n\r\x00")
	if end < 0 {
		return data, nil
	}
	rest = data[end+1:]
	for seen := data[end : end+1]; len(rest) > 0 && len(seen) < 3; {
		c := rest[0]
		if c != '\n' && c != '\r' && c != 0 || bytes.IndexByte(seen, c) >= 0 {
			break
		}
		rest = rest[1:]
		seen = data[end : len(data)-len(rest)]
	}
	return data[:end], rest
}

// rawToken is one KEY{attribute}OPERATOR"value" of a line.
type rawToken struct {
	key, attr string
	hasAttr   bool
	op        op
	value     string
	fold      bool // i"…"
	offset    int  // where it begins in the line
	end       int  // where it ends
	valueAt   int  // where the value's text begins, behind the quote
}

const blanks = " \t\n\r"

// nextToken reads the token at or behind offset. It returns false at the end of the line. An error's offset is in the
// token.
func nextToken(line string, offset int) (rawToken, bool, error) {
	i := offset
	for i < len(line) && strings.IndexByte(blanks+",", line[i]) >= 0 {
		i++
	}
	t := rawToken{offset: i}
	if i == len(line) {
		return t, false, nil
	}
	start := i
	for ; ; i++ {
		if i == len(line) {
			return t, false, fmt.Errorf("%q has no operator", line[start:])
		}
		if strings.IndexByte(blanks+"={", line[i]) >= 0 {
			break
		}
		if strings.IndexByte("+-!:", line[i]) >= 0 && i+1 < len(line) && line[i+1] == '=' {
			break
		}
	}
	t.key = line[start:i]
	if line[i] == '{' {
		n := strings.IndexByte(line[i:], '}')
		if n < 0 {
			return t, false, fmt.Errorf("%s: '{' without '}'", t.key)
		}
		t.attr, t.hasAttr = line[i+1:i+n], true
		i += n + 1
	}
	i = skipBlanks(line, i)
	o, n := readOp(line[i:])
	if n == 0 {
		if strings.Trim(t.key, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			return t, false, fmt.Errorf("%q is no key", t.key)
		}
		return t, false, fmt.Errorf("%s: an operator should stand here: ==, !=, =, +=, -= or :=", t.key)
	}
	t.op = o
	i = skipBlanks(line, i+n)
	value, fold, at, end, err := readValue(line, i)
	if err != nil {
		return t, false, fmt.Errorf("%s: %w", t.key, err)
	}
	t.value, t.fold, t.valueAt, t.end = value, fold, at, end
	return t, true, nil
}

func skipBlanks(s string, i int) int {
	for i < len(s) && strings.IndexByte(blanks, s[i]) >= 0 {
		i++
	}
	return i
}

func readOp(s string) (op, int) {
	for o, text := range opText {
		if o != int(opAssign) && strings.HasPrefix(s, text) {
			return op(o), len(text)
		}
	}
	if strings.HasPrefix(s, "=") {
		return opAssign, 1
	}
	return 0, 0
}

// readValue reads a quoted value with its prefixes: e for C escapes, i for 'case does not count', each at most once.
func readValue(line string, i int) (value string, fold bool, at, end int, err error) {
	escaped := false
	for ; i < len(line) && line[i] != '"'; i++ {
		switch {
		case line[i] == 'e' && !escaped:
			escaped = true
		case line[i] == 'i' && !fold:
			fold = true
		default:
			return "", false, 0, 0, fmt.Errorf("a value in double quotes should stand behind the operator")
		}
	}
	if i == len(line) {
		return "", false, 0, 0, fmt.Errorf("a value in double quotes should stand behind the operator")
	}
	i++
	at = i
	var text strings.Builder
	for ; ; i++ {
		if i == len(line) {
			return "", false, 0, 0, fmt.Errorf("the value has no closing quote")
		}
		if line[i] == '"' {
			break
		}
		if line[i] == '\\' && i+1 < len(line) {
			if escaped {
				text.WriteByte('\\') // unescape needs both
				i++
			} else if line[i+1] == '"' {
				i++
			}
		}
		text.WriteByte(line[i])
	}
	value, end = text.String(), i+1
	if escaped {
		if value, err = unescape(value); err != nil {
			return "", false, 0, 0, err
		}
	}
	return value, fold, at, end, nil
}

// unescape resolves C's escapes: \a \b \f \n \r \t \v \\ \" \' \s, \xHH, \OOO, \uHHHH and \UHHHHHHHH. Another one,
// and one that stands for NUL, is an error.
func unescape(s string) (string, error) {
	if strings.IndexByte(s, '\\') < 0 {
		return s, nil
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			out.WriteByte(s[i])
			continue
		}
		i++
		if i == len(s) {
			return "", fmt.Errorf("a lone backslash ends the value")
		}
		if n := strings.IndexByte(`abfnrtv\"'s`, s[i]); n >= 0 {
			out.WriteByte("\a\b\f\n\r\t\v\\\"' "[n])
			continue
		}
		digits, base := 0, 16
		start := i + 1
		switch c := s[i]; {
		case c == 'x':
			digits = 2
		case c == 'u':
			digits = 4
		case c == 'U':
			digits = 8
		case '0' <= c && c <= '7':
			digits, base, start = 3, 8, i
		default:
			return "", fmt.Errorf(`unknown escape \%c`, c)
		}
		if start+digits > len(s) {
			return "", fmt.Errorf(`the escape \%s is cut short`, s[i:])
		}
		n, ok := parseDigits(s[start:start+digits], base)
		text := s[i : start+digits]
		switch {
		case !ok:
			return "", fmt.Errorf(`\%s is no escape`, text)
		case n == 0:
			return "", fmt.Errorf(`\%s stands for NUL, which no value may hold`, text)
		case digits >= 4:
			if n > 0x10ffff || n >= 0xd800 && n < 0xe000 {
				return "", fmt.Errorf(`\%s is no character`, text)
			}
			out.WriteRune(rune(n))
		case n > 255:
			return "", fmt.Errorf(`\%s is more than a byte`, text)
		default:
			out.WriteByte(byte(n))
		}
		i = start + digits - 1
	}
	return out.String(), nil
}

func parseDigits(s string, base int) (int, bool) {
	n := 0
	for i := range len(s) {
		c := lower(s[i])
		d := 99
		switch {
		case '0' <= c && c <= '9':
			d = int(c - '0')
		case 'a' <= c && c <= 'f':
			d = int(c-'a') + 10
		}
		if d >= base {
			return 0, false
		}
		n = n*base + d
	}
	return n, true
}
