package json

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxSize is the most bytes that one value of a Decoder may have.
const maxSize = 64 << 20

// Read reads data, which is one value, into what v points to. Members of objects that the struct does not have are passed
// over. An error says at which byte, counted from 0.
func Read(data []byte, v any) error { return read(data, v, 0, false) }

// ReadStrict is Read, but a member that the struct does not have is an error.
func ReadStrict(data []byte, v any) error { return read(data, v, 0, true) }

func read(data []byte, v any, base int64, strict bool) error {
	p := parser{data: data, strict: strict, fields: fieldCache{}}
	err := p.value(reflect.ValueOf(v).Elem(), 0)
	if p.space(); err == nil && p.at < len(data) {
		err = p.unexpected("after the value")
	}
	if err != nil {
		return fmt.Errorf("JSON: byte %d: %w", base+int64(p.at), err)
	}
	return nil
}

// A Decoder reads objects, one after another, with or without space between them. It holds one of them at a time, and reads no
// further than a buffer's length behind it.
type Decoder struct {
	r    *bufio.Reader
	at   int64
	data []byte
}

// NewDecoder returns a Decoder of what r gives.
func NewDecoder(r io.Reader) *Decoder { return &Decoder{r: bufio.NewReader(r)} }

// Read reads the next object as [Read] does. At the end of input the error is io.EOF; within an object, io.ErrUnexpectedEOF.
func (d *Decoder) Read(v any) error {
	d.data = d.data[:0]
	depth, quoted := 0, false
	for begun := false; !begun || depth > 0; {
		c, err := d.r.ReadByte()
		if err != nil {
			if begun && errors.Is(err, io.EOF) {
				return fmt.Errorf("JSON: byte %d: within an object: %w", d.at+int64(len(d.data)), io.ErrUnexpectedEOF)
			}
			return err
		}
		if !begun && isSpace(c) {
			d.at++
			continue
		}
		if !begun && c != '{' {
			return fmt.Errorf("JSON: byte %d: %q where an object is expected", d.at, c)
		}
		if len(d.data) == maxSize {
			return fmt.Errorf("JSON: byte %d: an object of more than %d bytes", d.at, maxSize)
		}
		begun = true
		d.data = append(d.data, c)
		switch {
		case quoted && c == '\\':
			if c, err = d.r.ReadByte(); err == nil { // whatever it is, it does not end the string; an error comes again
				d.data = append(d.data, c)
			}
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		}
	}
	err := read(d.data, v, d.at, false)
	d.at += int64(len(d.data))
	return err
}

// A parser reads a value while it checks it. Where it stops, p.at is.
type parser struct {
	data   []byte
	at     int
	strict bool
	fields fieldCache
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

func (p *parser) space() {
	for p.at < len(p.data) && isSpace(p.data[p.at]) {
		p.at++
	}
}

// peek is the next byte that is no space, 0 at the end.
func (p *parser) peek() byte {
	if p.space(); p.at < len(p.data) {
		return p.data[p.at]
	}
	return 0
}

func (p *parser) unexpected(where string) error {
	if p.at >= len(p.data) {
		return fmt.Errorf("%s: %w", where, io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("%s: unexpected %q", where, p.data[p.at])
}

// value reads a value into v, or passes over it when v is the zero Value.
func (p *parser) value(v reflect.Value, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("nested deeper than %d", maxDepth)
	}
	switch c := p.peek(); {
	case c == 'n':
		return p.null(v)
	case v.Kind() == reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		return p.value(v.Elem(), depth)
	case c == '{':
		return p.object(v, depth)
	case c == '[':
		return p.array(v, depth)
	case c == '"':
		s, err := p.string()
		if err != nil || !v.IsValid() {
			return err
		}
		if v.Kind() != reflect.String {
			return wrong("a string", v)
		}
		v.SetString(s)
		return nil
	case c == 't':
		return p.boolean(v, "true")
	case c == 'f':
		return p.boolean(v, "false")
	case c == '-' || '0' <= c && c <= '9':
		return p.number(v)
	}
	return p.unexpected("where a value is expected")
}

func wrong(got string, v reflect.Value) error {
	return fmt.Errorf("%s where %s is wanted", got, v.Type())
}

func (p *parser) word(w string) error {
	if !bytes.HasPrefix(p.data[p.at:], []byte(w)) {
		return p.unexpected("where a value is expected")
	}
	p.at += len(w)
	return nil
}

// null makes what can be nil nil, and leaves the rest as it is.
func (p *parser) null(v reflect.Value) error {
	if err := p.word("null"); err != nil {
		return err
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		v.SetZero()
	}
	return nil
}

func (p *parser) boolean(v reflect.Value, w string) error {
	if err := p.word(w); err != nil || !v.IsValid() {
		return err
	}
	if v.Kind() != reflect.Bool {
		return wrong(w, v)
	}
	v.SetBool(w == "true")
	return nil
}

func (p *parser) number(v reflect.Value) error {
	from := p.at
	p.sign("-")
	if p.at < len(p.data) && p.data[p.at] == '0' {
		p.at++
	} else if !p.digits() {
		return p.unexpected("in a number")
	}
	if p.sign(".") && !p.digits() {
		return p.unexpected("in a number")
	}
	if p.sign("eE") {
		p.sign("+-")
		if !p.digits() {
			return p.unexpected("in a number")
		}
	}
	s := string(p.data[from:p.at])
	switch v.Kind() {
	case reflect.Invalid:
		return nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || v.OverflowInt(n) {
			return wrong("number "+s, v)
		}
		v.SetInt(n)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil || v.OverflowUint(n) {
			return wrong("number "+s, v)
		}
		v.SetUint(n)
	default:
		return wrong("number "+s, v)
	}
	return nil
}

// sign passes over one of these bytes.
func (p *parser) sign(any string) bool {
	if p.at < len(p.data) && strings.IndexByte(any, p.data[p.at]) >= 0 {
		p.at++
		return true
	}
	return false
}

func (p *parser) digits() bool {
	from := p.at
	for p.at < len(p.data) && '0' <= p.data[p.at] && p.data[p.at] <= '9' {
		p.at++
	}
	return p.at > from
}

// array reads into a slice. One that is there already is overwritten, element by element.
func (p *parser) array(v reflect.Value, depth int) error {
	if v.IsValid() && v.Kind() != reflect.Slice {
		return wrong("an array", v)
	}
	n := 0
	err := p.elements(']', func() error {
		var element reflect.Value
		if v.IsValid() {
			if n == v.Cap() {
				v.Grow(1)
			}
			if n >= v.Len() {
				v.SetLen(n + 1)
			}
			element = v.Index(n)
		}
		n++
		return p.value(element, depth+1)
	})
	switch {
	case err != nil || !v.IsValid():
	case n == 0:
		v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	default:
		v.SetLen(n)
	}
	return err
}

// object reads into a struct or a map.
func (p *parser) object(v reflect.Value, depth int) error {
	switch {
	case !v.IsValid() || v.Kind() == reflect.Struct:
	case v.Kind() == reflect.Map && v.Type().Key().Kind() == reflect.String:
		if v.IsNil() {
			v.Set(reflect.MakeMap(v.Type()))
		}
	default:
		return wrong("an object", v)
	}
	return p.elements('}', func() error {
		if p.peek() != '"' {
			return p.unexpected("where a name is expected")
		}
		from := p.at
		name, err := p.string()
		if err != nil {
			return err
		}
		if p.peek() != ':' {
			return p.unexpected("where ':' is expected")
		}
		p.at++
		var member reflect.Value
		switch v.Kind() {
		case reflect.Map:
			member = reflect.New(v.Type().Elem()).Elem()
		case reflect.Struct:
			if i := p.find(v.Type(), name); i >= 0 {
				member = v.Field(i)
			} else if p.strict {
				p.at = from
				return fmt.Errorf("unknown member %q", name)
			}
		}
		err = p.value(member, depth+1)
		if err == nil && v.Kind() == reflect.Map {
			v.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), member)
		}
		return err
	})
}

// find is the field of a name: as it is written, or else but for the case of letters, as the standard package has it.
func (p *parser) find(t reflect.Type, name string) int {
	folded := -1
	for _, f := range p.fields.of(t) {
		if f.name == name {
			return f.index
		}
		if folded < 0 && strings.EqualFold(f.name, name) {
			folded = f.index
		}
	}
	return folded
}

// elements reads what stands between a bracket and its end, with commas between.
func (p *parser) elements(end byte, element func() error) error {
	p.at++
	if p.peek() == end {
		p.at++
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		switch p.peek() {
		case end:
			p.at++
			return nil
		case ',':
			p.at++
		default:
			return p.unexpected("where ',' or " + strconv.QuoteRune(rune(end)) + " is expected")
		}
	}
}

// string reads a string. What is no UTF-8, or half of a surrogate pair, becomes U+FFFD.
func (p *parser) string() (string, error) {
	p.at++
	var b []byte
	for p.at < len(p.data) {
		switch c := p.data[p.at]; {
		case c == '"':
			p.at++
			return string(b), nil
		case c < ' ':
			return "", p.unexpected("in a string")
		case c == '\\':
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			b = utf8.AppendRune(b, r)
		case c < utf8.RuneSelf:
			p.at++
			b = append(b, c)
		default:
			r, n := utf8.DecodeRune(p.data[p.at:])
			p.at += n
			b = utf8.AppendRune(b, r)
		}
	}
	return "", p.unexpected("in a string")
}

func (p *parser) escape() (rune, error) {
	p.at++
	if p.at == len(p.data) {
		return 0, p.unexpected("in a string")
	}
	c := p.data[p.at]
	if at := strings.IndexByte(`"\/bfnrt`, c); at >= 0 {
		p.at++
		return rune("\"\\/\b\f\n\r\t"[at]), nil
	}
	if c != 'u' {
		return 0, p.unexpected("after '\\' in a string")
	}
	r := p.hex()
	if r < 0 {
		return 0, p.unexpected("after '\\u' in a string")
	}
	if utf16.IsSurrogate(r) {
		from := p.at
		if p.sign(`\`) && p.at < len(p.data) && p.data[p.at] == 'u' {
			if both := utf16.DecodeRune(r, p.hex()); both != utf8.RuneError {
				return both, nil
			}
		}
		p.at = from // half a pair; what follows is read by itself
		return utf8.RuneError, nil
	}
	return r, nil
}

// hex reads 'u' and four digits; it is -1 where they are none, at the byte that is none.
func (p *parser) hex() rune {
	p.at++
	r := rune(0)
	for range 4 {
		if p.at == len(p.data) {
			return -1
		}
		digit := strings.IndexByte("0123456789abcdefABCDEF", p.data[p.at])
		if digit < 0 {
			return -1
		}
		if digit > 15 {
			digit -= 6
		}
		p.at++
		r = r<<4 | rune(digit)
	}
	return r
}
